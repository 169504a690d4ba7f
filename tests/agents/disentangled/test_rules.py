"""Rules: what each does to a coordinate over time, their text, and mistakes in them."""

import math

import pytest
import torch

from rlgen.agents.disentangled.rules import (
    RULE_NAMES,
    Clamp,
    Overwrite,
    Scale,
    Schedule,
    apply_rules,
    parse_rules,
)
from rlgen.core.errors import UserError

STEPS = torch.arange(6)
VALUES = torch.tensor([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Overwrite(0, 3.0), [3, 3, 3, 3, 3, 3]),
        (Overwrite(0, 3.0, start=4), [-2, -1, 0, 0.5, 3, 3]),
        (Overwrite(0, 3.0, start=1, steps=2), [-2, 3, 3, 0.5, 1, 2]),
        (Clamp(0, -1.0, 0.75), [-1, -1, 0, 0.5, 0.75, 0.75]),
        (Clamp(0, -math.inf, 1.5), [-2, -1, 0, 0.5, 1, 1.5]),
        (Scale(0, -0.5), [1, 0.5, 0, -0.25, -0.5, -1]),
        (Schedule(0, [(1, 4.0)]), [-2, 4, 4, 4, 4, 4]),
        # From 0 at step 1 by 1.5 a step to 3 at step 3, then down to 2 within one step.
        (Schedule(0, [(1, 0.0), (3, 3.0), (4, 2.0)]), [-2, 0, 1.5, 3, 2, 2]),
    ],
    ids=str,
)
def test_what_a_rule_makes_of_a_coordinate(rule, expected):
    torch.testing.assert_close(rule.apply(VALUES, STEPS), torch.tensor(expected).float())


def test_rules_edit_their_coordinates_only_one_after_the_other():
    mu = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    rules = [Overwrite(2, 8.0, start=1), Scale(2, 0.5), Clamp(0, 2.0, 3.0)]
    edited = apply_rules(rules, mu, torch.tensor([0, 1]))
    assert edited.tolist() == [[2.0, 2.0, 1.5], [3.0, 5.0, 4.0]]
    assert mu.tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    reverse = apply_rules([Scale(2, 0.5), Overwrite(2, 8.0, start=1)], mu, torch.tensor([0, 1]))
    assert reverse[1, 2] == 8.0


def test_gradients_pass_where_a_coordinate_is_not_overwritten():
    mu = torch.zeros(2, 2, requires_grad=True)
    apply_rules([Overwrite(0, 1.0, start=1)], mu, torch.tensor([0, 1])).sum().backward()
    assert mu.grad.tolist() == [[1.0, 1.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("set=2:3.0", (Overwrite(2, 3.0),)),
        ("set=2:-3e-1:50", (Overwrite(2, -0.3, start=50),)),
        ("hold=2:3.0:20", (Overwrite(2, 3.0, steps=20),)),
        ("hold=2:3:20:7", (Overwrite(2, 3.0, start=7, steps=20),)),
        ("clamp=2:-inf:1.5", (Clamp(2, -math.inf, 1.5),)),
        ("scale=1:0.5", (Scale(1, 0.5),)),
        ("schedule=2:0:-3:100:3", (Schedule(2, ((0, -3.0), (100, 3.0))),)),
        ("set=2:3.0+4:-1", (Overwrite(2, 3.0), Overwrite(4, -1.0))),
        (" set=1:1e+1 + clamp=0:-1:1 ", (Overwrite(1, 10.0), Clamp(0, -1.0, 1.0))),
    ],
)
def test_rules_are_read_from_text_and_written_so_that_they_read_the_same(text, rules):
    assert parse_rules(text) == rules
    assert parse_rules("+".join(map(str, rules))) == rules


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is no rule; type set=2:3.0"),
        ("2:3", "'2:3' is no rule; type set=2:3.0"),
        ("sett=2:3", "'sett=2:3' is no rule; did you mean 'set'?"),
        ("set=2", "cannot read the rule set=2; type set=COORDINATE:VALUE[:START], such as set=2:3"),
        ("set=2:3:4:5", "cannot read the rule set=2:3:4:5; type set="),
        ("set=1.5:3", "cannot read the rule set=1.5:3; type set="),
        ("set=2:high", "cannot read the rule set=2:high"),
        ("set=2:3+", "cannot read the rule set=; type set="),
        ("set=-1:3", "coordinate -1 does not exist; they count from 0"),
        ("set=2:nan", "set=2:nan has a number that is not finite"),
        ("set=inf:1", "cannot read the rule set=inf:1"),
        ("set=2:1:-4", "set=2:1:-4 starts before the episode"),
        ("hold=2:3", "cannot read the rule hold=2:3; type hold=COORDINATE:VALUE:STEPS[:START]"),
        ("hold=2:3:0", "hold=2:3:0 holds for 0 steps; type 1 or more"),
        ("clamp=2:1:-1", "clamp=2:1:-1 has its bounds in the wrong order"),
        ("clamp=2:nan:1", "clamp=2:nan:1 has its bounds in the wrong order"),
        ("schedule=2:5:1:5:2", "schedule=2:5:1:5:2 needs points at increasing steps"),
        ("schedule=2:0:1:5", "cannot read the rule schedule=2:0:1:5"),
        ("schedule=2", "schedule=2 needs points at increasing steps"),
    ],
)
def test_a_mistake_is_one_line(text, message):
    with pytest.raises(UserError) as caught:
        parse_rules(text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_every_name_has_an_example_that_reads():
    for name in RULE_NAMES:
        with pytest.raises(UserError) as caught:
            parse_rules(f"{name}=x")
        assert str(parse_rules(str(caught.value).split("such as ")[1])[0]).startswith(name)
