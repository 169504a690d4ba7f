"""The action-conditional VAE: what the action reaches, shapes of every network, saves, mistakes."""

import math
from pathlib import Path

import pytest
import torch

from rlgen.agents.disentangled import ActionConditionalVAE, beta_objective, reconstruction_nll
from rlgen.core.errors import UserError

M, N = 2, 5


def small(network: str = "mlp", **options) -> ActionConditionalVAE:
    torch.manual_seed(0)
    shape = (3,) if network == "mlp" else (3, 12, 14)
    return ActionConditionalVAE(shape, M, N, network=network, hidden=(8,), **options)


def batch(vae: ActionConditionalVAE, size: int = 6) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    observations = torch.rand(size, *vae.observation_shape, generator=generator)
    actions = torch.rand(size, vae.action_dim, generator=generator)
    eps = torch.randn(size, vae.latent_dim, generator=generator)
    return observations, actions, eps


def test_the_action_map_has_n_entries_and_ends_in_zeros():
    mapped = small().map_action(torch.tensor([[0.5, -1.0]]))
    assert mapped.tolist() == [[0.5, -1.0, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_shifting_a_mapped_coordinate_is_shifting_the_action(network):
    vae = small(network)
    observations, actions, eps = batch(vae)
    z = vae(observations, actions, eps).z
    for i in range(M):
        delta = 0.5 * torch.eye(N)[i]
        by_latent = vae.decode((z + delta) + vae.map_action(actions))
        by_action = vae.decode(z + vae.map_action(actions + delta[:M]))
        torch.testing.assert_close(by_latent, by_action)
        assert not torch.allclose(by_latent, vae.decode(z + vae.map_action(actions)))


def test_the_action_reaches_the_decoder_only_through_the_mapped_coordinates():
    vae = small()
    observations, actions, _ = batch(vae, 1)
    jacobian = torch.autograd.functional.jacobian(
        lambda a: vae.encode(observations)[0] + vae.map_action(a), actions
    )[0, :, 0]
    assert torch.equal(jacobian, torch.eye(N)[:, :M])


def test_loss_has_the_same_gradient_in_mapped_latents_and_in_the_action():
    vae = small()
    observations, actions, eps = batch(vae)
    z = vae(observations, actions, eps).z.detach().requires_grad_()
    actions.requires_grad_()
    prediction = vae.decode(z + vae.map_action(actions))
    reconstruction_nll(prediction, torch.zeros_like(prediction), "gaussian").sum().backward()
    assert actions.grad.abs().min() > 0
    torch.testing.assert_close(z.grad[:, :M], actions.grad, atol=1e-6, rtol=0)


def test_no_action_is_a_next_state_beta_vae():
    vae = small()
    plain = ActionConditionalVAE((3,), 0, N, hidden=(8,))
    plain.load_state_dict(vae.state_dict())
    observations, actions, eps = batch(vae)
    losses = []
    for model, a in ((vae, torch.zeros_like(actions)), (plain, actions[:, :0])):
        out = model(observations, a, eps)
        terms = beta_objective(
            out.prediction, observations, out.mu, out.sigma, beta=4.0, likelihood="gaussian"
        )
        losses.append(terms.loss)
    assert torch.equal(*losses)


def test_the_action_changes_the_prediction_but_not_the_latent():
    vae = small()
    observations, actions, eps = batch(vae)
    a, b = vae(observations, actions, eps), vae(observations, actions + 1, eps)
    assert torch.equal(a.mu, b.mu)
    assert torch.equal(a.sigma, b.sigma)
    assert torch.equal(a.z, b.z)
    assert not torch.allclose(a.prediction, b.prediction)


def test_sample_and_latents():
    vae = small()
    observations, actions, eps = batch(vae)
    out = vae(observations, actions, eps)
    assert torch.equal(out.z, out.mu + out.sigma * eps)
    assert torch.equal(vae.latents(observations), torch.cat((out.mu, out.sigma), dim=1))
    torch.manual_seed(3)
    drawn = vae(observations, actions).z
    torch.manual_seed(3)
    assert torch.equal(drawn, out.mu + out.sigma * torch.randn_like(out.mu))


@pytest.mark.parametrize(("logvar", "sigma"), [(-99.0, math.exp(-5)), (99.0, math.exp(2))])
def test_the_log_variance_is_clamped(logvar, sigma):
    vae = small()
    with torch.no_grad():
        vae.encoder_head.weight.zero_()
        vae.encoder_head.bias[N:] = logvar
    assert vae.encode(batch(vae)[0])[1].unique().item() == pytest.approx(sigma)


@pytest.mark.parametrize(
    ("shape", "options", "network", "target", "likelihood"),
    [
        ((17,), {}, "mlp", (17,), "gaussian"),
        ((9,), {"likelihood": "bernoulli"}, "mlp", (9,), "bernoulli"),
        ((4, 84, 84), {}, "nature", (1, 84, 84), "bernoulli"),
        ((3, 40, 37), {"network": "nature"}, "nature", (3, 40, 37), "bernoulli"),
        ((3, 64, 64), {"channels": (4, 4, 4, 4)}, "conv", (3, 64, 64), "bernoulli"),
        ((4, 10, 10), {}, "conv", (4, 10, 10), "bernoulli"),
        ((6, 13, 27), {"target_shape": (3, 13, 27)}, "conv", (3, 13, 27), "bernoulli"),
        ((2, 3, 3), {}, "mlp", (2, 3, 3), "bernoulli"),
    ],
)
def test_every_network_predicts_in_the_shape_of_its_target(
    shape, options, network, target, likelihood
):
    vae = ActionConditionalVAE(shape, M, N, **options)
    assert (vae.network, vae.target_shape, vae.likelihood) == (network, target, likelihood)
    observations, actions, eps = batch(vae, 2)
    out = vae(observations, actions, eps)
    assert out.mu.shape == out.sigma.shape == out.z.shape == (2, N)
    assert out.prediction.shape == vae.targets(observations).shape == (2, *target)
    out.prediction.sum().backward()
    assert all(p.grad is not None for p in vae.parameters())


def test_stacked_frames_are_predicted_by_the_newest():
    vae = ActionConditionalVAE((4, 84, 84), M, N)
    stack = torch.arange(4.0).view(1, 4, 1, 1).expand(1, 4, 84, 84) / 4
    assert torch.equal(vae.targets(stack), stack[:, 3:])
    assert torch.equal(vae.targets(stack[:, 1:2]), stack[:, 1:2])


def test_statistics_of_targets_are_those_of_all_batches_together():
    vae = small()
    data = torch.randn(90, 3, dtype=torch.float64).float() * torch.tensor([1.0, 5.0, 0.1]) + 7
    assert torch.equal(vae.targets(data[:4] / 9), data[:4] / 9)  # nothing seen yet
    for part in (data[:7], data[7:8], data[8:8], data[8:]):
        vae.update_target_statistics(part)
    assert vae.target_count == 90
    torch.testing.assert_close(vae.target_mean, data.mean(0))
    torch.testing.assert_close(vae.target_var, data.var(0, correction=0))
    standard = vae.targets(data)
    torch.testing.assert_close(standard.std(0, correction=0), torch.ones(3))
    assert vae.targets(data + 1e6).max() == 10


def test_predict_is_in_the_data_s_own_range():
    vae = small()
    z = torch.randn(4, N)
    vae.update_target_statistics(torch.tensor([[1.0, 2, 3], [3.0, 2, 7]]))
    torch.testing.assert_close(
        vae.predict(z), vae.decode(z) * torch.tensor([1.0, 1e-4, 2.0]) + torch.tensor([2.0, 2, 5])
    )
    torch.testing.assert_close(vae.targets(vae.predict(z))[:, 0], vae.decode(z)[:, 0])
    pixels = small("conv")
    assert torch.equal(pixels.predict(z), pixels.decode(z).sigmoid())
    pixels.update_target_statistics(torch.rand(4, 3, 12, 14))
    assert torch.equal(pixels.predict(z), pixels.decode(z).sigmoid())


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_a_saved_model_is_the_same_model(tmp_path: Path, network):
    vae = small(network, activation="relu", channels=(4,) if network == "conv" else None)
    observations, actions, eps = batch(vae)
    vae.update_target_statistics(observations)
    vae.save_pretrained(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    loaded = ActionConditionalVAE.from_pretrained(tmp_path)
    out, again = vae(observations, actions, eps), loaded(observations, actions, eps)
    assert torch.equal(out.prediction, again.prediction)
    assert torch.equal(vae.targets(observations), loaded.targets(observations))
    fresh = ActionConditionalVAE.from_config(vae.config)
    assert fresh.state_dict().keys() == vae.state_dict().keys()


def test_the_mlp_s_trunk_is_linears_and_activations_alone():
    vae = ActionConditionalVAE((3,), M, N, hidden=(8, 6), activation="relu")
    kinds = [type(layer).__name__ for layer in vae.encoder_trunk]
    assert kinds == ["Linear", "ReLU", "Linear", "ReLU"]
    widths = [layer.out_features for layer in vae.decoder if hasattr(layer, "out_features")]
    assert widths == [6, 8, 3]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (((3,), 4, 4), {}, "type latent_dim=5 or more"),
        (((3,), 6, 4), {}, "type latent_dim=7 or more"),
        (((3,), -1, 4), {}, "type 0 or more"),
        (((3,), 2, 4), {"network": "convs"}, "did you mean 'conv'"),
        (((3,), 2, 4), {"network": "conv"}, "type network='auto'"),
        (((1, 20, 20), 2, 4), {"network": "nature"}, "of 36 pixels"),
        (((3,), 2, 4), {"activation": "tan"}, "did you mean 'tanh'"),
        (((3,), 2, 4), {"likelihood": "normal"}, "allowed: auto, bernoulli, gaussian"),
        (((3, 64, 64), 2, 4), {"target_shape": (3, 32, 32)}, "only the number of channels"),
        (((3, 8, 8), 2, 4), {"channels": (4, 4, 4, 4)}, "type 3 or fewer"),
        (((3, 0), 2, 4), {}, "positive sizes"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, options, message):
    with pytest.raises(UserError, match=message) as caught:
        ActionConditionalVAE(*arguments, **options)
    assert "\n" not in str(caught.value)


def test_wrong_batches_are_told():
    vae = small()
    with pytest.raises(UserError, match=r"\(batch, 2\) is needed"):
        vae.map_action(torch.zeros(1, 3))
    with pytest.raises(UserError, match=r"\(batch, 3\) is needed"):
        vae.targets(torch.zeros(1, 4))
