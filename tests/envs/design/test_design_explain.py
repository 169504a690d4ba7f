"""Contributions of operations add up; leaving one out builds the rest again."""

import pytest

from rlgen.core.errors import UserError
from rlgen.envs.design.shape.history import Design
from rlgen.envs.design.shape.operations import Action
from rlgen.envs.design.solve.brief import Brief
from rlgen.envs.design.solve.evaluation import evaluate_design
from rlgen.envs.design.solve.explain import contributions, leave_one_out
from rlgen.envs.design.solve.reports import explanation
from rlgen.envs.design.task.experts import expert
from rlgen.envs.design.task.presets import make_task


@pytest.fixture(scope="module")
def cup() -> Design:
    design = Design.from_actions(expert("Vessel").actions)
    assert design.apply(Action.named("cut_top", keep=0.9)) is None
    return design


def test_contributions_add_up_to_the_score(cup: Design) -> None:
    task = make_task("Vessel")
    steps = contributions(cup, task)
    whole = evaluate_design(cup, task)
    assert sum(step.change for step in steps) == pytest.approx(whole.score, abs=1e-12)
    assert [step.score for step in steps][-1] == whole.score
    assert steps[-1].satisfactions == whole.satisfactions
    assert steps[0].operation.startswith("cylinder add: radius_low 41.0")
    assert steps[0].satisfactions["capacity >= 330 ml"] == 0.0  # solid
    assert steps[1].change > 0.5 > 0 > steps[2].change  # the hollow makes it; the cut loses some


def test_what_is_left_out_is_missing(cup: Design) -> None:
    task = make_task("Vessel")
    no_body, no_hollow, no_cut = leave_one_out(cup, task)
    assert no_body.score == 0.0
    assert [text.split()[1] for text in no_body.refused] == ["hollow", "cut_top"]
    assert no_hollow.refused == ()
    assert (
        no_hollow.score
        == evaluate_design(Design.from_actions([cup.actions[0], cup.actions[2]]), task).score
    )
    assert no_cut.score == evaluate_design(cup.first(2), task).score
    assert no_cut.loss < 0  # better without it
    whole = evaluate_design(cup, task).score
    assert no_hollow.loss == pytest.approx(whole - no_hollow.score, abs=1e-12)


def test_locked_operations_are_marked(cup: Design) -> None:
    seeded = Design.from_actions(cup.actions, locked=1)
    assert [c.locked for c in contributions(seeded, make_task("Vessel"))] == [True, False, False]


def test_an_empty_design_has_nothing_to_explain() -> None:
    with pytest.raises(UserError, match="nothing to explain"):
        contributions(Design(), make_task("Vessel"))


def test_the_table_has_a_row_per_operation(cup: Design) -> None:
    table, *notes = explanation(cup, Brief.of_task("Vessel"))
    assert table.row_count == 3
    assert notes == []
