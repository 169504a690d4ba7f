"""Further terms of the on-policy agents' losses: added, logged, refused where they cannot be."""

import pytest
import torch

from rlgen.agents import A2C, PPO
from rlgen.core.errors import UserError
from rlgen.envs import make_vec

AGENTS = [(PPO, {"n_steps": 8, "batch_size": 16}), (A2C, {"n_steps": 8})]


def made(algorithm, arguments, losses):
    env = make_vec("CartPole-v1", 2, seed=0)
    return algorithm("MlpPolicy", env, seed=0, auxiliary_losses=losses, **arguments)


@pytest.mark.parametrize(("algorithm", "arguments"), AGENTS)
def test_a_term_trains_and_is_logged(algorithm, arguments):
    seen = []

    def towards_the_first_action(outputs):
        seen.append(outputs)
        return {"push_loss": -100.0 * outputs.parameters[:, 0].mean()}

    model = made(algorithm, arguments, [towards_the_first_action]).learn(320)
    assert "train/push_loss" in model.logger.name_to_value
    outputs = seen[0]
    assert outputs.policy is model.policy
    assert outputs.parameters.shape == (16, 2)
    assert outputs.values.shape == outputs.log_prob.shape == outputs.entropy.shape == (16,)
    assert outputs.batch.actions.shape == (16,)
    before = outputs.parameters.detach().softmax(1)[:, 0].mean()
    distribution = model.policy.get_distribution(torch.zeros(1, 4)).distribution
    assert distribution.probs[0, 0] > before + 0.1


@pytest.mark.parametrize(("algorithm", "arguments"), AGENTS)
def test_a_term_of_zero_changes_nothing(algorithm, arguments):
    plain = made(algorithm, arguments, []).learn(64).policy.state_dict()
    zero = made(algorithm, arguments, [lambda o: {"zero_loss": 0.0 * o.values.sum()}]).learn(64)
    for name, weight in zero.policy.state_dict().items():
        assert torch.equal(weight, plain[name])


def test_sb3s_own_road_has_no_further_terms():
    with pytest.raises(UserError, match=r"need the fast path, which is off \(fast=False\)"):
        made(PPO, {**AGENTS[0][1], "fast": False}, [lambda outputs: {}])
