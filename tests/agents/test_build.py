"""From a configuration to an agent: schedules, policies by space, algorithms that do not fit."""

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import SAC

from rlgen.agents.build import build_agent, build_env, schedule
from rlgen.agents.job import compose_train_config
from rlgen.agents.registry import AGENTS
from rlgen.core.errors import UserError
from rlgen.train import main


class ContinuousOnly(SAC):
    """SB3's SAC behind the arguments that the command gives to every agent."""

    def __init__(self, policy, env, *, seed, device, **_):
        super().__init__(policy, env, seed=seed, device=device, buffer_size=10)


class DictEnv(gym.Env):
    observation_space = gym.spaces.Dict({"a": gym.spaces.Box(-1, 1, (2,), np.float32)})
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return {"a": np.zeros(2, np.float32)}, {}

    def step(self, action):
        return {"a": np.zeros(2, np.float32)}, 0.0, False, False, {}


@pytest.fixture
def continuous_only(monkeypatch):
    monkeypatch.setitem(AGENTS._items, "continuous-only", ContinuousOnly)


@pytest.fixture
def dict_env():
    gym.register("DictEnv-v0", entry_point=DictEnv)
    yield "DictEnv-v0"
    del gym.registry["DictEnv-v0"]


def test_a_continuous_algorithm_on_discrete_actions_is_one_line(
    continuous_only, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    code = main(["agent=ppo", "agent.name=continuous-only", "env=CartPole-v1"])
    captured = capsys.readouterr()
    assert code == 2
    assert captured.err.count("\n") == 1
    assert "cannot use env=CartPole-v1" in captured.err
    assert "Discrete(2) was provided" in captured.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("kind", "remaining", "value"), [("linear", 0.25, 0.5)])
def test_a_linear_schedule_goes_to_zero(kind, remaining, value):
    function = schedule(2.0, kind, "agent.lr_schedule")
    assert callable(function)
    assert function(remaining) == value
    assert function(0.0) == 0


def test_a_constant_schedule_is_the_value():
    assert schedule(2.0, "constant", "agent.lr_schedule") == 2.0


def test_an_unknown_schedule_is_told():
    with pytest.raises(UserError, match=r"agent.lr_schedule='cosine' .* constant, linear"):
        schedule(2.0, "cosine", "agent.lr_schedule")


@pytest.mark.parametrize("agent", ["g2ppo", "a2c"])
def test_a_dictionary_of_observations_gets_its_policy(dict_env, agent):
    config = compose_train_config([f"agent={agent}", f"env={dict_env}", "n_envs=2"])
    env = build_env(config)
    model = build_agent(config, env)
    assert model.policy_class.__name__ in ("MultiInputActorCriticPolicy", "GatedMultiInputPolicy")
    assert model.why_not_fast == "Dict observations"
    env.close()


def test_continuous_control_is_normalised_and_evaluation_is_not_trained():
    config = compose_train_config(["agent=ppo", "env=Pendulum-v1", "agent.normalize=true"])
    training, evaluation = build_env(config), build_env(config, training=False, n_envs=1)
    assert training.training
    assert training.norm_reward
    assert not evaluation.training
    assert not evaluation.norm_reward
    training.close()
    evaluation.close()


@pytest.mark.parametrize(
    ("env", "name"),
    [("Breakout", "g2ac"), ("MinAtar/Breakout-v1", "g2ppo"), ("CartPole-v1", "g2ppo")],
)
def test_g2n_is_the_base_that_measured_better(env: str, name: str) -> None:
    for agent in (["agent=g2n"], []):
        config = compose_train_config([f"env={env}", *agent, "agent.mutation=0.01"])
        assert config["agent"]["name"] == name
        assert config["agent"]["mutation"] == 0.01
    assert compose_train_config([f"env={env}", "agent=g2ppo"])["agent"]["name"] == "g2ppo"


def test_an_option_of_another_agent_is_told(capsys: pytest.CaptureFixture) -> None:
    assert main(["agent=a2c", "env=CartPole-v1", "agent.batch_size=32"]) == 2
    assert "agent=a2c has no option agent.batch_size; others have it" in capsys.readouterr().err
