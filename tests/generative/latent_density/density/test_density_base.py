"""What all densities share: standardisation, saving, seeds, chunks, mistakes."""

import math

import pytest
import torch

from rlgen.core.errors import UserError
from rlgen.generative.latent_density.density import DENSITIES, LDE, FullGaussian, load_density
from rlgen.generative.latent_density.density import base as base_module

SMALL = {
    "lde": {"components": 4, "max_width": 16},
    "gmm": {"components": 2},
    "flow": {"n_layers": 2, "hidden": 16},
    "vae": {"hidden": 16},
    "diffusion": {"hidden": 16, "depth": 1, "sampling_steps": 5},
}
NAMES = ("diffusion", "flow", "gaussian", "gmm", "lde", "prior", "vae")


def build(name: str, dim: int = 3):
    return DENSITIES[name](dim=dim, **SMALL.get(name, {}))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=NAMES)
def name(request) -> str:
    return request.param


def test_the_registry():
    assert tuple(DENSITIES) == NAMES
    assert {n for n in NAMES if DENSITIES[n].can_complete} == {"gaussian", "gmm", "lde", "prior"}
    assert {n for n in NAMES if not DENSITIES[n].has_log_prob} == {"diffusion", "vae"}
    assert {n for n in NAMES if not DENSITIES[n].learns} == {"prior"}
    with pytest.raises(UserError, match=r"unknown latent density 'gausian'; did you mean 'gauss"):
        DENSITIES["gausian"]


def test_a_fit_is_a_function_of_its_arguments(name, tilted):
    results = []
    for global_seed in (0, 1):
        torch.manual_seed(global_seed)
        density = build(name)
        before = torch.random.get_rng_state()
        losses = density.fit(tilted(300, 0), steps=4, batch_size=64, seed=7)
        assert torch.equal(torch.random.get_rng_state(), before)
        results.append((losses, density.sample(5, generator=seeded(0))))
        assert not density.training
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])
    assert len(results[0][0]) == (4 if name in ("lde", "flow", "vae", "diffusion") else 1)


@pytest.mark.parametrize("name", ["diffusion", "flow", "lde", "vae"])
def test_another_seed_is_another_fit(name, tilted):
    losses = [build(name).fit(tilted(300, 0), steps=3, seed=seed) for seed in (0, 1)]
    assert losses[0] != losses[1]


def test_saved_and_loaded_it_is_the_same(name, tilted, tmp_path):
    density = build(name)
    density.fit(tilted(300, 0), steps=3)
    density.save_pretrained(tmp_path)
    loaded = load_density(tmp_path)
    assert type(loaded) is type(density)
    options = [
        {key: value for key, value in one.config.items() if not key.startswith("_")}
        for one in (loaded, density)
    ]
    assert options[0] == options[1]
    assert not loaded.training
    weights = loaded.state_dict()
    assert all(torch.equal(weights[key], value) for key, value in density.state_dict().items())
    assert torch.equal(
        loaded.sample(4, generator=seeded(0)), density.sample(4, generator=seeded(0))
    )
    assert [path.suffix for path in sorted(tmp_path.iterdir())] == [".json", ".safetensors"]


@pytest.mark.parametrize("name", ["flow", "gaussian", "gmm", "lde"])
def test_standardising_adds_its_log_determinant(name, tilted):
    density, unit = build(name).double(), build(name).double()
    rows = tilted(300, 0).double()
    density.fit(rows, steps=2)
    unit.load_state_dict({**density.state_dict(), "shift": rows[0] * 0, "scale": rows[0] * 0 + 1})
    torch.testing.assert_close(density.shift, rows.mean(0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(density.scale, rows.std(0), atol=1e-5, rtol=1e-5)
    standard = (rows - density.shift) / density.scale
    expected = unit.log_prob(standard) - density.scale.log().sum()
    torch.testing.assert_close(density.log_prob(rows), expected)
    torch.testing.assert_close(
        density.sample(5, generator=seeded(0)),
        unit.sample(5, generator=seeded(0)) * density.scale + density.shift,
    )


def test_raw_latents_are_left_alone(tilted):
    density = LDE(dim=3, max_width=16, standardize=False)
    density.fit(tilted(100, 0), steps=1)
    assert (density.shift == 0).all()
    assert (density.scale == 1).all()


def test_a_constant_coordinate_keeps_its_unit(name, tilted):
    rows = tilted(300, 0)
    rows[:, 1] = 0.1
    density = build(name)
    density.fit(rows, steps=3)
    assert density.scale[1] == 1
    assert density.sample(5, generator=seeded(0)).isfinite().all()
    if density.has_log_prob:
        assert density.log_prob(rows).isfinite().all()


def test_rows_beyond_a_chunk(name, tilted, monkeypatch):
    density = build(name)
    density.fit(tilted(300, 0), steps=2)
    several = [seeded(k) for k in range(11)]
    whole = density.sample(11, generator=several)
    scores = density.log_prob(whole) if density.has_log_prob else None
    monkeypatch.setattr(base_module, "CHUNK", 4)
    parts = density.sample(11, generator=[seeded(k) for k in range(11)])
    torch.testing.assert_close(parts, whole, atol=1e-4, rtol=1e-4)
    if scores is not None:
        torch.testing.assert_close(density.log_prob(whole), scores, atol=1e-4, rtol=1e-4)


def test_no_rows(name):
    density = build(name)
    nothing = torch.zeros(0, 3)
    if density.has_log_prob:
        assert density.log_prob(nothing).shape == (0,)
    if density.can_complete:
        assert density.complete(nothing[:, :1], generator=seeded(0)).shape == (0, 3)
        assert density.complete(nothing, generator=[]).shape == (0, 3)


def test_one_coordinate(name):
    rows = 4 + 2 * torch.randn(400, 1, generator=seeded(0))
    density = build(name, dim=1)
    losses = density.fit(rows, steps=5)
    assert all(math.isfinite(loss) for loss in losses)
    assert density.sample(3, generator=seeded(0)).shape == (3, 1)


def test_on_step_is_told_and_can_end_a_fit(tilted):
    told: list[tuple[int, float]] = []

    def stop_at_three(step: int, loss: float) -> bool:
        told.append((step, loss))
        return step == 3

    losses = build("lde").fit(tilted(100, 0), steps=50, on_step=stop_at_three)
    assert told == list(enumerate(losses, start=1))
    assert len(losses) == 3
    told.clear()
    losses = FullGaussian(dim=3).fit(tilted(100, 0), on_step=lambda *row: told.append(row))
    assert told == [(1, losses[0])]


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda d: d.fit(torch.zeros(9, 4)), "latents of shape (9, 4); (rows, 3) is needed"),
        (lambda d: d.fit(torch.zeros(1, 3)), "1 latents cannot be fitted; give 2 or more"),
        (lambda d: d.fit(torch.full((9, 3), torch.nan)), "latents has numbers that are not finite"),
        (lambda d: d.fit(torch.zeros(9, 3), steps=0), "steps=0 is too small; type steps=1"),
        (lambda d: d.fit(torch.zeros(9, 3), batch_size=0), "batch_size=0 is too small"),
        (lambda d: d.fit(torch.zeros(9, 3), seed=-1), "seed=-1 is too small"),
        (lambda d: d.fit(torch.zeros(9, 3), learning_rate=0.0), "learning_rate=0.0 is too small"),
        (lambda d: d.log_prob(torch.zeros(9)), "z of shape (9,); (rows, 3) is needed"),
        (lambda d: d.log_prob(torch.full((1, 3), torch.inf)), "z has numbers that are not finite"),
        (lambda d: d.sample(0, generator=seeded(0)), "count=0 is too small; type count=1"),
        (lambda d: d.sample(1, generator=seeded(0), temperature=0.0), "temperature=0.0 is too"),
        (lambda d: d.sample(2, generator=[seeded(0)]), "1 generators for 2 rows"),
        (lambda d: d.complete(torch.zeros(1, 4), generator=seeded(0)), "(rows, at most 3)"),
    ],
)
def test_mistakes_are_one_line(call, part):
    with pytest.raises(UserError) as error:
        call(FullGaussian(dim=3))
    assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_what_a_density_lacks_is_said():
    with pytest.raises(UserError, match="LatentVAE has no log-density; allowed: flow, gaussian"):
        build("vae").log_prob(torch.zeros(1, 3))
    with pytest.raises(UserError, match="MAF cannot complete vectors; allowed: gaussian, gmm, lde"):
        build("flow").complete(torch.zeros(1, 2), generator=seeded(0))
