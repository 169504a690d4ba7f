"""Collections: who plays, what is kept, and that a collection can be made again."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlgen.envs import make_vec
from rlgen.policy_distillation.collect import Collector
from rlgen.policy_distillation.distributions import distribution_of


class Left:
    """A teacher that always pushes the cart to the left, and says which step it is asked at."""

    distribution = distribution_of(spaces.Discrete(2))

    def begin(self, n_envs):
        self.starts, self.step = [], 0

    def label(self, observations, starts):
        self.starts.append(starts.copy())
        self.step += 1
        acting = torch.tensor([0.0, -1e9]).expand(len(observations), 2)
        return acting, torch.full_like(acting, float(self.step))


def right(observations):
    return torch.tensor([-1e9, 0.0]).expand(len(observations), 2)


def collector(seed=0, n_envs=4, teacher=None):
    env = make_vec("CartPole-v1", n_envs, seed=7)
    return Collector(env, teacher or Left(), right, torch.device("cpu"), seed)


@pytest.mark.parametrize(
    ("share", "players"), [(0.0, "tttt"), (0.25, "ttts"), (0.5, "ttss"), (1.0, "ssss")]
)
def test_the_last_environments_are_the_students(share, players):
    observations, _ = collector().collect(4 * 6, share, 1)
    speeds = observations.reshape(6, 4, 4)[5, :, 1]  # pushed five times one way
    assert "".join("t" if speed < -0.5 else "s" for speed in speeds) == players


def test_the_teacher_labels_all_states_also_the_students():
    teacher = Left()
    observations, targets = collector(teacher=teacher).collect(41, 0.5, 1)
    assert len(observations) == len(targets) == 44  # whole steps of four environments
    assert targets.dtype == np.float32
    assert targets[:, 0].tolist() == [step for step in range(1, 12) for _ in range(4)]
    assert teacher.starts[0].all()
    assert not teacher.starts[1].any()
    assert np.any(teacher.starts[8:])  # the pole has fallen


def test_a_collection_can_be_made_again_and_others_differ():
    one, two = collector(), collector()
    one.collect(8, 0.5, 0)  # what was played before does not matter
    first, again = one.collect(40, 0.5, 3)[0], two.collect(40, 0.5, 3)[0]
    assert np.array_equal(first, again)
    assert not np.array_equal(first, two.collect(40, 0.5, 4)[0])
    assert not np.array_equal(first, collector(seed=1).collect(40, 0.5, 3)[0])


def test_the_random_numbers_of_others_are_left_alone():
    before = torch.get_rng_state()
    collector().collect(8, 0.5, 0)
    assert torch.equal(before, torch.get_rng_state())
