"""The callback beside SB3's algorithms: what it trains, on what, and what it leaves alone."""

from typing import Any

import numpy as np
import pytest
import torch
from counting_env import assert_whole, counting_vector
from stable_baselines3 import A2C, DQN, PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize

from rlgen import agents
from rlgen.agents.disentangled import DisentangledExtractor, acting_extractor
from rlgen.agents.disentangled.callback import DisentangleCallback
from rlgen.core.errors import NonFiniteLossError, UserError

ON_POLICY = [
    (PPO, {"n_steps": 10, "batch_size": 15, "n_epochs": 2}),
    (A2C, {"n_steps": 7}),
    (agents.PPO, {"n_steps": 10, "batch_size": 15, "n_epochs": 2}),
    (agents.A2C, {"n_steps": 7}),
]
OFF_POLICY = [
    (DQN, {"learning_starts": 20, "buffer_size": 90}),
    (DQN, {"learning_starts": 20, "buffer_size": 90, "n_steps": 3}),
    (SAC, {"learning_starts": 20, "buffer_size": 90, "batch_size": 16}),
]
ALL = ON_POLICY + OFF_POLICY


def build(algorithm: Any, env: Any = None, m: int | None = None, **options: Any) -> Any:
    box = algorithm is SAC
    m = (2 if box else 3) if m is None else m
    return algorithm(
        "MlpPolicy",
        counting_vector(3, box=box) if env is None else env,
        policy_kwargs={
            "features_extractor_class": DisentangledExtractor,
            "features_extractor_kwargs": {"latent_dim": m + 2, "action_dim": m, "hidden": (16,)},
            "net_arch": [8],
        },
        device="cpu",
        seed=0,
        **options,
    )


def weights(model: Any, part: str = "") -> torch.Tensor:
    named = model.policy.named_parameters()
    return torch.cat([p.detach().flatten() for name, p in named if part in name])


class Watching(DisentangleCallback):
    """Keeps the minibatches that it trains on."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.seen: list[tuple[torch.Tensor, ...]] = []

    def _draw(self) -> Any:
        batch = super()._draw()
        if batch is not None:
            self.seen.append(batch)
        return batch


@pytest.mark.parametrize(("algorithm", "options"), ALL)
def test_without_alpha_the_algorithm_is_untouched_bit_for_bit(algorithm, options):
    plain = build(algorithm, **options)
    start = weights(plain, "decoder")
    plain.learn(75)
    beside = build(algorithm, **options)  # now, as SB3 seeds torch when it builds
    beside.learn(75, DisentangleCallback(alpha=0.0))
    assert torch.equal(weights(plain), weights(beside))
    assert not torch.equal(
        weights(plain, "encoder"), weights(build(algorithm, **options), "encoder")
    )
    if (algorithm, options) in ON_POLICY:  # the others have targets that follow, decoder and all
        assert torch.equal(start, weights(plain, "decoder"))


@pytest.mark.parametrize(("algorithm", "options"), ALL)
def test_it_trains_on_whole_steps_of_what_was_collected(algorithm, options):
    model = build(algorithm, **options)
    callback = Watching(alpha=1.0, batch_size=8)
    model.learn(75, callback)
    assert callback.updates == len(callback.seen) > 3
    scale = 2 if algorithm is SAC else 1
    number = torch.arange(3.0)
    for states, actions, after in callback.seen:
        summed = scale * actions.sum(dim=1) if algorithm is SAC else actions @ number
        assert_whole(states, summed, after)
    everything = torch.cat([after for _, _, after in callback.seen])
    assert (everything[:, 2] == 5).any()  # last observations of episodes are targets


def trained(algorithm: Any, options: dict[str, Any], **callback: Any) -> tuple[Any, Watching]:
    """A model that has learned a little beside a callback, with all gradients forgotten."""
    model, watching = build(algorithm, **options), Watching(**callback)
    model.learn(45, watching)
    model.policy.zero_grad()
    return model, watching


def auxiliary_gradient(model: Any, callback: Watching) -> dict[str, torch.Tensor]:
    """Gradients after one call of the hook, always on the same batch and noise."""
    batch = callback.seen[0]
    callback._draw = lambda: batch  # type: ignore[method-assign]
    callback._noise = np.random.default_rng(0)
    callback._before_step()
    found = {name: p.grad for name, p in model.policy.named_parameters() if p.grad is not None}
    model.policy.zero_grad()
    return {name: grad.clone() for name, grad in found.items()}


@pytest.mark.parametrize(("algorithm", "options"), [ON_POLICY[0], ON_POLICY[2], *OFF_POLICY])
def test_the_gradient_reaches_the_acting_encoder_and_the_decoder_alone(algorithm, options):
    model, callback = trained(algorithm, options, alpha=1.0)
    found = auxiliary_gradient(model, callback)
    owner = {"SAC": "actor.", "DQN": "q_net."}.get(algorithm.__name__, "")
    assert {name.split(".vae.")[0] for name in found} == {f"{owner}features_extractor"}
    parts = {name.split(".vae.")[1].split(".")[0] for name in found}
    assert parts == {"encoder_trunk", "encoder_head", "decoder"}
    assert all(bool(grad.any()) for grad in found.values())


def test_the_gradient_is_alpha_times_that_of_the_objective_and_is_added():
    model, callback = trained(*ON_POLICY[0], alpha=0.25, max_grad_norm=1e9)
    vae = acting_extractor(model.policy).vae
    states, actions, after = callback.seen[0]
    found = auxiliary_gradient(model, callback)
    eps = np.random.default_rng(0).standard_normal((len(states), 5), dtype=np.float32)
    out = vae(states, actions, torch.from_numpy(eps))
    terms = callback.objective(
        out.prediction, vae.targets(after), out.mu, out.sigma, likelihood="gaussian"
    )
    (0.25 * terms.loss).backward()
    expected = vae.decoder[0].weight.grad.clone()
    # The statistics of the targets moved a little between the two.
    torch.testing.assert_close(
        found["features_extractor.vae.decoder.0.weight"], expected, rtol=0.05, atol=0.01
    )
    model.policy.zero_grad()
    vae.target_count += 10**9  # now they stay
    once = auxiliary_gradient(model, callback)
    for parameter in vae.parameters():
        parameter.grad = torch.ones_like(parameter)
    onto_ones = auxiliary_gradient(model, callback)
    for name, grad in once.items():
        torch.testing.assert_close(onto_ones[name], grad + 1)


def test_the_gradient_is_clipped():
    model, callback = trained(*ON_POLICY[0], alpha=50.0, max_grad_norm=0.3)
    grads = auxiliary_gradient(model, callback).values()
    norm = torch.cat([grad.flatten() for grad in grads]).norm().item()
    assert norm == pytest.approx(0.3, rel=1e-3)


def test_it_draws_no_numbers_of_the_algorithm():
    _, callback = trained(*OFF_POLICY[0])
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    callback._before_step()
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    assert callback.updates == len(callback.seen)


@pytest.mark.parametrize(("every", "updates"), [(1, 12), (5, 2)])
def test_every_so_many_steps_of_the_optimizer(every, updates):
    model = build(PPO, n_steps=10, batch_size=15, n_epochs=2)  # 2 x 2 steps in each rollout
    callback = DisentangleCallback(every=every)
    model.learn(90, callback)
    assert callback.updates == updates


def test_it_learns_and_tells():
    class Rows(BaseCallback):
        rows: list[dict[str, float]] = []  # noqa: RUF012

        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            self.rows.append(dict(self.logger.name_to_value))

    model = build(PPO, n_steps=20, batch_size=60, n_epochs=16, learning_rate=1e-2)
    rows = Rows()
    model.learn(900, [DisentangleCallback(alpha=1.0, beta=0.1, max_grad_norm=5.0), rows])
    told = [row for row in rows.rows if "disentangled/nll" in row]
    names = {name.split("/")[1] for name in told[0] if name.startswith("disentangled")}
    assert names == {
        *("nll", "kl", "kl_mapped", "kl_unmapped", "sigma", "action_gain", "n_updates")
    }
    assert told[-1]["disentangled/nll"] < 0.5 * told[0]["disentangled/nll"]
    assert told[-1]["disentangled/action_gain"] > 0.02
    parts = told[-1]["disentangled/kl_mapped"] + told[-1]["disentangled/kl_unmapped"]
    assert parts == pytest.approx(told[-1]["disentangled/kl"], rel=1e-4)


@pytest.mark.parametrize("algorithm", [PPO, DQN])
@pytest.mark.parametrize("form", ["image", "discrete"])
def test_images_and_discrete_observations(algorithm, form):
    env = counting_vector(2, form=form)
    vae = {"channels": (4, 4)} if form == "image" else {}
    options: dict[str, Any] = (
        {"n_steps": 10, "batch_size": 10}
        if algorithm is PPO
        else {"learning_starts": 8, "buffer_size": 60, "batch_size": 8}
    )
    model = algorithm(
        "CnnPolicy" if form == "image" else "MlpPolicy",
        env,
        policy_kwargs={
            "features_extractor_class": DisentangledExtractor,
            "features_extractor_kwargs": {"latent_dim": 5, "action_dim": 3, "hidden": (8,), **vae},
        },
        device="cpu",
        **options,
    )
    callback = Watching()
    model.learn(40, callback)
    assert callback.updates > 0
    for states, _, after in callback.seen:
        if form == "image":
            torch.testing.assert_close(after, states + 40 / 255)
        else:
            assert torch.equal(after.argmax(dim=1), states.argmax(dim=1) + 1)


@pytest.mark.parametrize("algorithm", [PPO, DQN])
def test_normalized_observations_are_seen_as_the_policy_sees_them(algorithm):
    env = VecNormalize(counting_vector(3), norm_reward=False)
    options = dict(ON_POLICY[0][1] if algorithm is PPO else OFF_POLICY[0][1])
    model = build(algorithm, env, m=3, **options)
    callback = Watching(batch_size=30)
    model.learn(30, callback)
    states, _, after = callback._draw()
    assert states.std() < 3
    if algorithm is DQN:  # the buffer is normalised by the statistics of now
        step, next_step = (env.unnormalize_obs(part.numpy())[:, 2] for part in (states, after))
        np.testing.assert_allclose(next_step, step + 1, atol=1e-3)


def test_the_hook_is_gone_after_training_and_there_once_after_an_error():
    model = build(PPO, n_steps=10, batch_size=15, n_epochs=2)

    class Fails(BaseCallback):
        def _on_step(self) -> bool:
            raise RuntimeError("stop")

    callback = DisentangleCallback()
    with pytest.raises(RuntimeError, match="stop"):
        model.learn(30, [callback, Fails()])
    model.learn(30, callback)
    assert callback.updates == 4
    assert not model.policy.optimizer._optimizer_step_pre_hooks


def test_a_loss_that_is_no_number_stops_before_it_reaches_the_policy():
    model = build(PPO, n_steps=10, batch_size=15, n_epochs=2)
    torch.nn.init.constant_(acting_extractor(model.policy).vae.decoder[0].bias, float("nan"))
    with pytest.raises(NonFiniteLossError, match="disentangled/loss is not finite at step 30"):
        model.learn(60, DisentangleCallback())
    assert bool(weights(model, "encoder").isfinite().all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": -1.0}, "type 0 or more"),
        ({"every": 0}, "type every=1 or more"),
        ({"batch_size": 0}, "type batch_size=1 or more"),
        ({"objective": "bata"}, "did you mean 'beta'"),
    ],
)
def test_mistakes_are_told(options, message):
    with pytest.raises(UserError, match=message):
        DisentangleCallback(**options)


def test_algorithms_that_do_not_fit_are_refused():
    plain = PPO("MlpPolicy", counting_vector(1), device="cpu")
    with pytest.raises(UserError, match="has no DisentangledExtractor"):
        plain.learn(10, DisentangleCallback())
    other = build(PPO, m=2)
    with pytest.raises(UserError, match="type action_dim=3"):
        other.learn(10, DisentangleCallback())
