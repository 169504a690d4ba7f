"""The fast rollout and update compute what SB3's policy and ``train`` compute."""

from typing import Any

import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from tiny_envs import vector
from torch.nn import functional as F

from rlgen.agents import A2C, PPO
from rlgen.nets import MinAtarCNN

STEPS, ENVS = 16, 4
SGD = {"optimizer_class": torch.optim.SGD}
MINATAR = {"features_extractor_class": MinAtarCNN, "net_arch": []}
CASES = {
    "mlp-discrete": ("MlpPolicy", {}, {}),
    "mlp-box": ("MlpPolicy", {"action": "box"}, {"log_std_init": -0.3}),
    "mlp-matrix": ("MlpPolicy", {"action": "matrix"}, {}),
    "mlp-relu": ("MlpPolicy", {}, {"activation_fn": torch.nn.ReLU, "net_arch": [8]}),
    "mlp-elu": ("MlpPolicy", {}, {"activation_fn": torch.nn.ELU, "net_arch": [8]}),
    "discrete-observation": ("MlpPolicy", {"observation": "discrete"}, {}),
    "nature": ("CnnPolicy", {"observation": "image"}, {}),
    "nature-box": ("CnnPolicy", {"observation": "image", "action": "box"}, {}),
    "nature-raw": ("CnnPolicy", {"observation": "image"}, {"normalize_images": False}),
    "flat-image": ("MlpPolicy", {"observation": "image"}, {"net_arch": [8]}),
    "minatar": ("MlpPolicy", {"observation": "binary"}, MINATAR),
}


class Recorder(BaseCallback):
    """Keeps what the environment said and what the agent answered."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, Any]] = []

    def _on_step(self) -> bool:
        self.seen.append(
            {
                "obs": np.array(self.model._last_obs),
                "rewards": np.array(self.locals["rewards"]),
                "dones": np.array(self.locals["dones"]),
                "infos": self.locals["infos"],
            }
        )
        return True

    def stacked(self, name: str) -> np.ndarray:
        return np.stack([step[name] for step in self.seen])


def collect(
    case: str, algorithm: type = PPO, policy_kwargs: dict | None = None, **kwargs: Any
) -> tuple[Any, Recorder]:
    """Builds an agent with weights of some size and lets it collect one rollout."""
    policy, env_kwargs, own_kwargs = CASES[case]
    kwargs = {"n_steps": STEPS, "seed": 3, "device": "cpu", "precision": "fp32", **kwargs}
    if algorithm is PPO:
        kwargs = {"batch_size": STEPS * ENVS, "n_epochs": 1, **kwargs}
    policy_kwargs = {**own_kwargs, **(policy_kwargs or {})}
    model = algorithm(policy, vector(ENVS, **env_kwargs), policy_kwargs=policy_kwargs, **kwargs)
    assert model.why_not_fast is None
    with torch.no_grad():
        model.policy.action_net.weight.mul_(60)  # SB3 starts near uniform actions
        for bias in (p for name, p in model.policy.named_parameters() if name.endswith("bias")):
            bias.normal_(std=0.1)
    model.train = lambda: None
    recorder = Recorder()
    model.learn(STEPS * ENVS, recorder)
    del model.train
    return model, recorder


def sb3_twin(model: Any, recorder: Recorder, **kwargs: Any) -> Any:
    """SB3's own algorithm with the same weights and the same rollout, ready to train."""
    base = {PPO: stable_baselines3.PPO, A2C: stable_baselines3.A2C}[type(model)]
    if base is stable_baselines3.PPO:
        kwargs = {"batch_size": STEPS * ENVS, "n_epochs": 1, **kwargs}
    twin = base(
        model.policy_class,
        model.env,
        n_steps=STEPS,
        policy_kwargs=model.policy_kwargs,
        device="cpu",
        **kwargs,
    )
    twin.policy.load_state_dict(model.policy.state_dict())
    buffer, source = twin.rollout_buffer, model.rollout_buffer
    buffer.observations = recorder.stacked("obs").reshape(buffer.observations.shape)
    buffer.actions = source.actions.reshape(buffer.actions.shape)
    for name in ("rewards", "values", "log_probs", "advantages", "returns"):
        setattr(buffer, name, getattr(source, name).copy())
    buffer.full = True
    twin.set_logger(Logger(None, []))
    return twin


def flat(policy: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in policy.parameters()]).clone()


def steps_of_both(model: Any, twin: Any) -> tuple[torch.Tensor, torch.Tensor]:
    before = flat(model.policy)
    model.train()
    twin.train()
    return flat(model.policy) - before, flat(twin.policy) - before


@pytest.mark.parametrize("updated", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_acting_is_the_policys(case: str, updated: bool) -> None:
    model, recorder = collect(case, learning_rate=1e-4)
    if updated:
        model.train()
        model.train, recorder = lambda: None, Recorder()
        model.learn(STEPS * ENVS, recorder)
    buffer, obs = model.rollout_buffer, recorder.stacked("obs")
    tensor = torch.from_numpy(obs.reshape(STEPS * ENVS, *obs.shape[2:]))
    actions = torch.from_numpy(buffer.actions.reshape(STEPS * ENVS, *buffer.actions.shape[2:]))
    with torch.no_grad():
        values, log_prob, _ = model.policy.evaluate_actions(tensor, actions)
    np.testing.assert_allclose(buffer.values.flatten(), values.flatten(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(buffer.log_probs.flatten(), log_prob, rtol=1e-5, atol=1e-5)
    assert buffer.values.std() > 0.01
    assert buffer.log_probs.std() > 0.01 or case == "nature-raw", "raw pixels drown all doubt"


@pytest.mark.parametrize("case", CASES)
def test_gradient_is_sb3s(case: str) -> None:
    """One step of plain gradient descent on the whole rollout: the steps agree to 1e-4."""
    options = {"learning_rate": 1.0, "max_grad_norm": 1e9, "ent_coef": 0.02}
    model, recorder = collect(case, policy_kwargs=SGD, **options)
    ours, theirs = steps_of_both(model, sb3_twin(model, recorder, **options))
    assert theirs.norm() > 1e-3
    assert (ours - theirs).norm() / theirs.norm() < 1e-4


@pytest.mark.parametrize("case", ["mlp-discrete", "mlp-box", "nature"])
@pytest.mark.parametrize(
    "options",
    [
        {"n_epochs": 4},
        {"n_epochs": 4, "clip_range_vf": 0.1},
        {"n_epochs": 4, "normalize_advantage": False, "vf_coef": 0.1},
        {"n_epochs": 4, "max_grad_norm": 0.05},
    ],
    ids=["epochs", "clip_range_vf", "raw_advantage", "grad_norm"],
)
def test_several_epochs_are_sb3s(case: str, options: dict) -> None:
    options = {"learning_rate": 0.05, **options}
    model, recorder = collect(case, policy_kwargs=SGD, **options)
    twin = sb3_twin(model, recorder, **options)
    ours, theirs = steps_of_both(model, twin)
    assert (ours - theirs).norm() / theirs.norm() < 1e-3
    logged, expected = model.logger.name_to_value, twin.logger.name_to_value
    for name in ("policy_gradient_loss", "value_loss", "entropy_loss"):
        assert logged[f"train/{name}"] == pytest.approx(expected[f"train/{name}"], 1e-3, 1e-5)
    for name in ("clip_fraction", "explained_variance", "n_updates", "clip_range"):
        assert logged[f"train/{name}"] == pytest.approx(expected[f"train/{name}"], abs=1e-4)


@pytest.mark.parametrize("target_kl", [0.005, 0.01, 0.015, 0.02])
def test_target_kl_stops_where_sb3_stops(target_kl: float) -> None:
    options = {"learning_rate": 0.2, "n_epochs": 60, "target_kl": target_kl}
    model, recorder = collect("mlp-discrete", policy_kwargs=SGD, **options)
    twin = sb3_twin(model, recorder, **options)
    ours, theirs = steps_of_both(model, twin)
    assert 1 < twin._n_updates < 60
    assert model._n_updates == twin._n_updates
    assert (ours - theirs).norm() / theirs.norm() < 1e-3


@pytest.mark.parametrize("case", CASES)
def test_a2c_gradient_is_sb3s(case: str) -> None:
    options = {"learning_rate": 1.0, "max_grad_norm": 1e9, "ent_coef": 0.02}
    options |= {"use_rms_prop": False, "normalize_advantage": True}
    model, recorder = collect(case, A2C, policy_kwargs=SGD, **options)
    ours, theirs = steps_of_both(model, sb3_twin(model, recorder, **options))
    assert (ours - theirs).norm() / theirs.norm() < 1e-4


def test_a2c_rms_prop_is_sb3s() -> None:
    options = {"learning_rate": 1e-3, "rms_prop_eps": 1e-3}
    model, recorder = collect("mlp-discrete", A2C, **options)
    twin = sb3_twin(model, recorder, **options)
    ours, theirs = steps_of_both(model, twin)
    assert (ours - theirs).norm() / theirs.norm() < 1e-3
    for name in ("policy_loss", "value_loss", "entropy_loss", "explained_variance"):
        logged = model.logger.name_to_value[f"train/{name}"]
        assert logged == pytest.approx(twin.logger.name_to_value[f"train/{name}"], 1e-4, 1e-5)


def test_bf16_gradient_points_the_same_way() -> None:
    options = {"learning_rate": 1.0, "max_grad_norm": 1e9, "ent_coef": 0.02}
    model, recorder = collect("nature", policy_kwargs=SGD, precision="bf16", **options)
    ours, theirs = steps_of_both(model, sb3_twin(model, recorder, **options))
    assert F.cosine_similarity(ours, theirs, dim=0) > 0.99


def test_bf16_log_probabilities_are_near() -> None:
    model, recorder = collect("nature", precision="bf16")
    tensor = torch.from_numpy(recorder.stacked("obs")).flatten(0, 1)
    actions = torch.from_numpy(model.rollout_buffer.actions).flatten()
    with torch.no_grad():
        _, log_prob, _ = model.policy.evaluate_actions(tensor, actions)
    assert np.abs(model.rollout_buffer.log_probs.flatten() - log_prob.numpy()).max() < 0.05


@pytest.mark.parametrize("case", ["mlp-discrete", "mlp-box", "nature", "minatar"])
def test_advantages_bootstrap_cut_episodes_as_sb3(case: str) -> None:
    model, recorder = collect(case, gamma=0.9)
    rewards, dones = recorder.stacked("rewards"), recorder.stacked("dones")
    cuts = 0
    with torch.no_grad():
        for t, env in zip(*np.nonzero(dones), strict=True):
            info = recorder.seen[t]["infos"][env]
            if info["TimeLimit.truncated"]:
                cuts += 1
                last = model.policy.obs_to_tensor(info["terminal_observation"])[0]
                rewards[t, env] += 0.9 * model.policy.predict_values(last).item()
        last_obs = torch.as_tensor(model._last_obs)
        last_values = model.policy.predict_values(last_obs)
    assert cuts
    buffer = model.rollout_buffer
    np.testing.assert_allclose(buffer.rewards, rewards, rtol=1e-5, atol=1e-5)
    theirs = RolloutBuffer(
        STEPS, model.observation_space, model.action_space, "cpu", 0.95, 0.9, ENVS
    )
    theirs.rewards, theirs.values = rewards, buffer.values
    theirs.episode_starts[0] = 1
    theirs.episode_starts[1:] = dones[:-1]
    theirs.compute_returns_and_advantage(last_values, dones[-1])
    np.testing.assert_allclose(buffer.advantages, theirs.advantages, rtol=1e-4, atol=1e-4)


def test_transposed_images_are_stored_flat() -> None:
    env, recorder = vector(ENVS, observation="channels_last"), Recorder()
    options = {"policy_kwargs": {"normalize_images": False, "net_arch": [8]}, "device": "cpu"}
    model = PPO("MlpPolicy", env, n_steps=STEPS, batch_size=STEPS, **options)
    model.train = lambda: None
    model.learn(STEPS * ENVS, recorder)
    flat_obs = recorder.stacked("obs").reshape(STEPS, ENVS, -1)
    np.testing.assert_array_equal(model.rollout_buffer.observations.numpy(), flat_obs)


def test_box_actions_are_clipped_for_the_environment_only() -> None:
    class Remember(BaseCallback):
        sent: list[np.ndarray] = []  # noqa: RUF012

        def _on_step(self) -> bool:
            self.sent.append(np.array(self.training_env.actions))
            return True

    model, _ = collect("mlp-box")
    model.learn(STEPS * ENVS, Remember())
    stored = model.rollout_buffer.actions
    assert np.abs(stored).max() > 1
    np.testing.assert_array_equal(np.stack(Remember.sent), np.clip(stored, -1, 1))
