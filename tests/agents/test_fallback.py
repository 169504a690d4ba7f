"""Policies that the fast path does not know run SB3's code, and say why."""

from typing import Any

import pytest
import stable_baselines3
import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from tiny_envs import vector

from rlgen.agents import A2C, PPO

BASES = {PPO: stable_baselines3.PPO, A2C: stable_baselines3.A2C}


class OwnBuffer(RolloutBuffer):
    """A user's own buffer."""


CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "asked": ("MlpPolicy", {}, {"fast": False}, "fast=False"),
    "dict": ("MultiInputPolicy", {"observation": "dict"}, {}, "Dict observations"),
    "multi_discrete": ("MlpPolicy", {"action": "multi_discrete"}, {}, "MultiDiscrete actions"),
    "multi_binary": ("MlpPolicy", {"action": "multi_binary"}, {}, "MultiBinary actions"),
    "sde": ("MlpPolicy", {"action": "box"}, {"use_sde": True}, "state-dependent exploration"),
    "extractors": (
        "CnnPolicy",
        {"observation": "image"},
        {"policy_kwargs": {"share_features_extractor": False}},
        "separate features extractors",
    ),
    "buffer": ("MlpPolicy", {}, {"rollout_buffer_class": OwnBuffer}, "own rollout buffer"),
}


@pytest.mark.parametrize("algorithm", [PPO, A2C])
@pytest.mark.parametrize("case", CASES)
def test_runs_sb3s_code_and_says_why(algorithm: type, case: str) -> None:
    policy, env_kwargs, kwargs, reason = CASES[case]
    options = {"n_steps": 8, "seed": 5, "device": "cpu"}
    if algorithm is PPO:
        options |= {"batch_size": 16, "n_epochs": 2}
    model = algorithm(policy, vector(2, **env_kwargs), **options, **kwargs).learn(32)
    assert model.why_not_fast == reason
    kwargs = {key: value for key, value in kwargs.items() if key != "fast"}
    twin = BASES[algorithm](policy, vector(2, **env_kwargs), **options, **kwargs).learn(32)
    for ours, theirs in zip(model.policy.parameters(), twin.policy.parameters(), strict=True):
        assert torch.equal(ours, theirs)


class OwnForward(ActorCriticPolicy):
    """A user's policy with a computation of its own."""

    def evaluate_actions(self, *args: Any) -> Any:
        values, log_prob, entropy = super().evaluate_actions(*args)
        return values, log_prob, 2 * entropy


class Latents(torch.nn.Module):
    """A user's networks, without the attributes of SB3's."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.latent_dim_pi = self.latent_dim_vf = 8
        self.shared = torch.nn.Linear(width, 8)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: torch.Tensor) -> torch.Tensor:
        return self.shared(features).tanh()

    forward_critic = forward_actor


class OwnLatents(ActorCriticPolicy):
    """SB3's documented way to bring networks of one's own."""

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = Latents(self.features_dim)


@pytest.mark.parametrize(
    ("policy", "reason"),
    [(OwnForward, "own evaluate_actions of OwnForward"), (OwnLatents, "own forward of Latents")],
)
def test_own_policies_run_their_own_code(policy: type, reason: str) -> None:
    options = {"n_steps": 8, "batch_size": 16, "seed": 5, "device": "cpu", "ent_coef": 0.1}
    model = PPO(policy, vector(2), **options).learn(32)
    assert model.why_not_fast == reason
    twin = stable_baselines3.PPO(policy, vector(2), **options).learn(32)
    for ours, theirs in zip(model.policy.parameters(), twin.policy.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("policy_kwargs", [{}, {"net_arch": [16]}])
def test_takes_the_fast_path_otherwise(policy_kwargs: dict) -> None:
    model = PPO("MlpPolicy", vector(2), n_steps=8, batch_size=16, policy_kwargs=policy_kwargs)
    assert model.why_not_fast is None
