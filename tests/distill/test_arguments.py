"""What a distiller is given wrongly: one clear line each."""

import pytest
from distill_nets import Net, images
from torch import nn

from rlgen.core.errors import UserError
from rlgen.distill import Distiller
from rlgen.distill.arguments import as_list, checked_weights


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"losses": {"kdd": 1.0}}, "unknown distillation loss 'kdd'; did you mean 'kd'"),
        ({"losses": {"kd": -1.0}}, "weight -1.0 of loss 'kd': it is 0 or more"),
        ({"losses": {"kd": float("nan")}}, "weight nan of loss 'kd'"),
        ({"losses": ["kd"]}, r'type losses=\{"kd": 1.0\}'),
        ({"losses": {"dml": 1.0}}, r"'dml' trains peers; give peers=\[first, second\]"),
        ({"teachers": ()}, r"'kd' needs a teacher; give Distiller\(student, teacher\)"),
        ({"student": None}, "give a student"),
        ({"peers": [Net(), Net()]}, "give a student"),
        ({"student": None, "peers": [Net()]}, "peers are two networks or more"),
        ({"student": None, "teachers": (), "peers": [Net(), Net()]}, "'kd' needs a student"),
        ({"options": {"kd": {"temprature": 2}}}, "option 'temprature' of loss 'kd'; did you mean"),
        ({"options": {"at": {}}}, "options of 'at': no such loss here; allowed: kd"),
        ({"options": {"kd": {"temperature": -1}}}, "temperature"),
        ({"losses": {"at": 1.0}}, 'name the layers, taps=\\["layer3"\\]'),
        ({"losses": {"at": 1.0}, "taps": ["stag"]}, "unknown layer 'stag' of Net; did you mean"),
        ({"losses": {"at": 1.0}, "taps": ["stage"], "example": None}, r"example=\(3, 32, 32\)"),
        ({"losses": {"at": 1.0}, "taps": "stage"}, r"type \['stage'\]"),
        ({"losses": {"at": 1.0}, "taps": []}, "name at least one tap"),
        ({"losses": {"at": 1.0}, "taps": {"student": [["conv"]] * 2}}, "student: 2 lists for 1"),
        ({"losses": {"at": 1.0}, "taps": {"student": [[]]}}, "name at least one tap"),
        ({"losses": {"at": 1.0}, "taps": {"studnt": ["stage"]}}, "taps for 'studnt': did you"),
        ({"losses": {"at": 1.0}, "taps": {"at": ["conv"], "student": ["conv"]}}, "not both"),
        ({"losses": {"at": 1.0}, "taps": {"teachers": [["conv"]] * 2}}, "name the layers"),
        ({"losses": {"at": 1.0}, "taps": ["stage"], "example": (9, 4, 4)}, "Net does not take it:"),
        (
            {"teachers": Net().to("meta")},
            r"networks are on cpu and meta; move all with .to\('cpu'\)",
        ),
        ({"taps": None, "example": images}, "a batch is .* got function"),
    ],
)
def test_mistakes(changes: dict, message: str) -> None:
    arguments = {
        "student": Net(),
        "teachers": [Net()],
        "losses": {"kd": 1.0},
        "example": (3, 4, 4),
        **changes,
    }
    with pytest.raises(UserError, match=message) as raised:
        Distiller(**arguments)
    assert "\n" not in str(raised.value)


def test_a_single_teacher_a_list_or_a_module_list() -> None:
    net = nn.Sequential(nn.Linear(1, 1))
    assert as_list(net) == [net]
    assert as_list((net, net)) == [net, net]
    assert as_list(nn.ModuleList([net])) == [net]


def test_weights_are_floats() -> None:
    assert checked_weights({"kd": 2}) == {"kd": 2.0}
    assert checked_weights(None) == {}
