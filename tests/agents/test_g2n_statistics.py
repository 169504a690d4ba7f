"""What the genetic agents log of a generation and of an update."""

from typing import Any

import pytest
from genetic_rollouts import ALL, ENVS, build, foreign_rollout, samples
from stable_baselines3.common.logger import KVWriter, Logger

from rlgen.agents import G2AC, G2PPO


class Capture(KVWriter):
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def write(self, key_values: dict, key_excluded: dict, step: int = 0) -> None:
        self.rows.append(dict(key_values))

    def close(self) -> None:
        pass


PER_GENERATION = {
    "generation",
    "fitness_max",
    "fitness_mean",
    "fitness_min",
    "fitness_elite",
    "episodes",
    "generation_steps",
    "elite_changed",
    "elite_changes",
    "open_fraction_elite",
    "open_fraction_population",
    "diversity",
    "elite_overlap_initial",
}
PER_UPDATE = {
    "kl_elite_individuals",
    "ratio_mean",
    "ratio_max",
    "ratio_clipped",
    "policy_loss_own",
    "policy_loss_foreign",
}


@pytest.mark.parametrize("algorithm", [G2PPO, G2AC])
def test_statistics_are_logged(algorithm: type) -> None:
    model, capture = build(algorithm), Capture()
    model.set_logger(Logger(None, [capture]))
    model.learn(30 * ALL, log_interval=1)

    def having(name: str) -> list[dict]:
        return [row for row in capture.rows if f"g2n/{name}" in row]

    generations = having("generation")
    assert [row["g2n/generation"] for row in generations] == list(range(1, len(generations) + 1))
    for row in generations:
        assert {f"g2n/{name}" for name in PER_GENERATION} <= row.keys()
        assert row["g2n/fitness_min"] <= row["g2n/fitness_mean"] <= row["g2n/fitness_max"]
        assert row["g2n/episodes"] >= ENVS
    updates = having("kl_elite_individuals")
    assert updates
    for row in updates:
        assert {f"g2n/{name}" for name in PER_UPDATE - {"policy_loss_own"}} <= row.keys()
        assert "train/explained_variance" in row
    assert any("g2n/policy_loss_own" in row for row in updates)
    last = capture.rows[-1]
    assert last["g2n/elite_steps"] + last["g2n/evolve_steps"] <= model.num_timesteps


@pytest.mark.parametrize("fast", [True, False])
def test_statistics_of_foreign_samples_by_hand(fast: bool) -> None:
    model, watch = foreign_rollout(fast=fast, clip_range=0.1)
    data = samples(model, watch)
    model.train()
    logged = {k.removeprefix("g2n/"): v for k, v in model.logger.name_to_value.items()}
    elite, own = data["elite_logits"], data["own_logits"]
    ratio = (data["log_prob"] - data["stored"]).exp()
    objective, mine = -ratio * data["advantages"], data["elite"]
    expected = {
        "kl_elite_individuals": (elite.exp() * (elite - own)).sum(1).mean(),
        "ratio_mean": ratio.mean(),
        "ratio_max": ratio.max(),
        "ratio_clipped": ((ratio - 1).abs() > 0.1).float().mean(),
        "policy_loss_own": objective[mine].mean(),
        "policy_loss_foreign": objective[~mine].mean(),
    }
    for name, value in expected.items():
        assert logged[name] == pytest.approx(value.item(), rel=1e-3, abs=1e-5), name


@pytest.mark.parametrize("cap", [None, 0.9, 3.0])
def test_share_of_weights_that_g2ac_caps(cap: float | None) -> None:
    model, watch = foreign_rollout(G2AC, is_clip=cap)
    data = samples(model, watch)
    model.train()
    ratio = (data["log_prob"] - data["stored"]).exp()
    expected = (ratio > cap).float().mean().item() if cap else 0.0
    assert model.logger.name_to_value["g2n/ratio_clipped"] == pytest.approx(expected)
