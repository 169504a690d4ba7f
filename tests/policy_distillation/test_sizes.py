"""Numbers of parameters by hand, and students of a share."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlgen.agents import A2OC, PPO, PPOC
from rlgen.agents.g2n.policy import GatedActorCriticPolicy
from rlgen.core.errors import UserError
from rlgen.envs import make_vec
from rlgen.nets import MinAtarCNN
from rlgen.policy_distillation.distributions import distribution_of
from rlgen.policy_distillation.sizes import choose_widths, student_parameters, teacher_size
from rlgen.policy_distillation.teacher import ActorTeacher, make_teacher

PLACE = spaces.Box(-1, 1, (4,), np.float32)
BINARY = spaces.Box(0, 1, (10, 10, 4), bool)
FRAMES = spaces.Box(0, 255, (4, 84, 84), np.uint8)
OPTIONS = {"teachers": "elite", "temperature": 1.0, "option_target": "active"}


def size_of(policy, space, population=None):
    distribution = distribution_of(policy.action_space)
    teacher = make_teacher(policy, distribution, OPTIONS, population)
    return teacher_size(teacher, torch.as_tensor(space.sample()).unsqueeze(0))


def test_the_critic_does_not_act():
    model = PPO("MlpPolicy", make_vec("CartPole-v1", 2), device="cpu", n_steps=8, batch_size=16)
    size = size_of(model.policy, PLACE)
    acting = 5 * 64 + 65 * 64 + 65 * 2
    assert size.as_dict() == {"acting": acting, "open": acting, "population": acting, "members": 1}


def gated(space, **kwargs):
    return GatedActorCriticPolicy(space, spaces.Discrete(3), lambda _: 1e-3, **kwargs)


def test_genes_count_and_closed_units_do_not():
    policy = gated(PLACE, net_arch=[6, 8])
    policy.mlp_extractor.elite[:5] = 0
    size = size_of(policy, PLACE, np.ones((10, 8), np.uint8))
    weights = 5 * 6 + 7 * 8 + 9 * 3
    assert size.acting == weights + 8
    assert size.population == weights + 10 * 8
    assert size.open == 5 * 6 + 7 * 3 + 4 * 3  # three units are left


def test_gates_on_features_and_on_two_layers():
    policy = gated(BINARY, net_arch=[], features_extractor_class=MinAtarCNN)
    policy.mlp_extractor.elite[:28] = 0
    convolution = 4 * 9 * 16 + 16
    size = size_of(policy, BINARY, np.ones((2, 128), np.uint8))
    assert size.acting == convolution + 1025 * 128 + 129 * 3 + 128
    assert size.open == convolution + 1025 * 100 + 101 * 3
    both = gated(PLACE, net_arch=[6, 8], gate_layers=(0, 1))
    both.mlp_extractor.elite[[0, 1, 7]] = 0  # two of six, one of eight
    assert size_of(both, PLACE, np.ones((2, 14), np.uint8)).open == 5 * 4 + 5 * 7 + 8 * 3


def test_an_option_agent_needs_choice_and_ends_of_options():
    kwargs = {"device": "cpu", "n_steps": 8}
    env = make_vec("CartPole-v1", 2)
    tower, heads = 5 * 64 + 65 * 64, 65 * 4 * 2
    ppoc = PPOC("MlpPolicy", env, batch_size=16, **kwargs)
    # Both towers: terminations are read off the critic's; its values are not needed.
    assert size_of(ppoc.policy, PLACE).acting == 2 * tower + heads + 65 * 4 + 65 * 4
    a2oc = A2OC("MlpPolicy", env, **kwargs)  # chooses by values
    assert size_of(a2oc.policy, PLACE).acting == 2 * tower + heads + 65 * 4 + 65 * 4


@pytest.mark.parametrize(
    ("space", "actions", "widths", "expected"),
    [
        (PLACE, spaces.Discrete(2), [16, 16], 5 * 16 + 17 * 16 + 17 * 2),
        (PLACE, spaces.Box(-1, 1, (3,)), [8], 5 * 8 + 9 * 3 + 3),
        (spaces.Discrete(9), spaces.Discrete(2), [4], 10 * 4 + 5 * 2),
        (BINARY, spaces.Discrete(3), [16], 592 + 1025 * 16 + 17 * 3),
        (BINARY, spaces.Discrete(3), [16, 5], 592 + 1025 * 16 + 17 * 5 + 6 * 3),
        (FRAMES, spaces.Discrete(6), [64], 8224 + 32832 + 36928 + 3137 * 64 + 65 * 6),
    ],
)
def test_students_by_hand(space, actions, widths, expected):
    assert student_parameters(space, actions, widths) == expected


def test_counting_students_draws_no_random_numbers():
    before = torch.get_rng_state()
    student_parameters(PLACE, spaces.Discrete(2), [3])
    assert torch.equal(before, torch.get_rng_state())


def square(widths):
    return widths[0] ** 2 if len(widths) == 2 else widths[0]


def test_the_largest_student_of_a_share():
    assert choose_widths(None, None, 400, square, 2) == [10, 10]  # a quarter
    assert choose_widths(None, 0.3024, 400, square, 2) == [10, 10]
    assert choose_widths(None, 0.3026, 400, square, 2) == [11, 11]  # 121 of 400
    assert choose_widths([50, 50], None, 400, square, 2) == [50, 50]
    assert choose_widths([10, 10], 0.25, 400, square, 2) == [10, 10]


def test_a_student_beyond_its_share_is_told_what_fits():
    with pytest.raises(UserError) as error:
        choose_widths([11, 11], 0.25, 400, square, 2)
    assert str(error.value) == (
        "student=[11, 11] has 121 acting parameters, more than student_size=0.25 of the teacher's "
        "400; type student=[10, 10]"
    )
    with pytest.raises(UserError, match="no student fits into 0 parameters"):
        choose_widths(None, 0.001, 400, square, 2)


def test_an_ungated_teacher_has_one_member():
    policy = gated(PLACE, net_arch=[6])
    teacher = ActorTeacher(policy, distribution_of(policy.action_space))
    assert (teacher.members, teacher.features(torch.zeros(2, 4)).shape) == (1, (2, 1, 6))
