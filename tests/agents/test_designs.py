"""Agents that design: the best of a run, masks, the features that they see."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rlgen.agents import PPO
from rlgen.agents.designs import BestDesigns, leave_designs, read_list
from rlgen.core.errors import UserError
from rlgen.envs import make_vec
from rlgen.envs.design.encodings import sample
from rlgen.envs.design.env import DesignEnv
from rlgen.envs.design.observations import GEOMETRIES
from rlgen.nets import DesignExtractor

PPO_ARGUMENTS = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "device": "cpu"}


def designs(count: int) -> list[tuple[float, str]]:
    """Scores and designs of random episodes."""
    env, rng, found = DesignEnv("Mast", horizon=4), np.random.default_rng(0), []
    while len(found) < count:
        env.reset(seed=len(found))
        ended = False
        while not ended:
            *_, terminated, truncated, info = env.step(sample(env.action_space, env.mask, rng))
            ended = terminated or truncated
        found.append((info["score"], info["design"]))
    return found


def collected(folder: Path, count: int, found: list[tuple[float, str]]) -> BestDesigns:
    best = BestDesigns(folder, count, print)
    for step, (score, text) in enumerate(found):
        best.num_timesteps = step
        best.add(score, text)
    return best


def test_the_best_are_kept_each_once(tmp_path):
    found = designs(12)
    best = collected(tmp_path / "designs", 4, [*found, *found])
    scores = [entry["score"] for entry in best.best]
    unique = {json.loads(text)["mesh_sha256"]: score for score, text in found}
    assert scores == sorted(unique.values(), reverse=True)[:4]
    assert len({entry["sha256"] for entry in best.best}) == 4
    best.save()
    assert read_list(tmp_path / "designs") == best.best
    again = collected(tmp_path / "designs", 4, [])
    assert again.best == best.best  # a resumed run goes on with the list


@pytest.mark.parametrize("text", ["", "[", "{}", '[{"score": 1}]', "3", '["a"]'])
def test_a_damaged_list_is_begun_anew(text: str, tmp_path):
    (tmp_path / "best.json").write_text(text)
    assert read_list(tmp_path) == []


def test_a_full_disk_stops_nothing(tmp_path, monkeypatch, capsys):
    best = collected(tmp_path, 4, designs(2))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rlgen.agents.designs.write_text", full)
    best.save()
    assert "No space left" in capsys.readouterr().out
    assert best._changed  # tried again later


def test_files_and_a_gallery_are_left(tmp_path, capsys):
    found = designs(3)
    best = collected(tmp_path, 3, found)
    broken = {**best.best[0], "design": "{}"}
    page = leave_designs(tmp_path, [broken, *best.best], "test")
    assert page.name == "index.html"
    suffixes = {path.suffix for path in (tmp_path / "files").iterdir()}
    assert {".glb", ".stl", ".step", ".json", ".scad", ".py"} <= suffixes
    assert (tmp_path / "construction.gif").exists()
    assert "skipped" in capsys.readouterr().err


def test_learning_collects_designs(tmp_path):
    env = make_vec("Mast", 2, seed=0, env_kwargs={"horizon": 3})
    policy = {"features_extractor_class": DesignExtractor}
    model = PPO("MultiInputPolicy", env, policy_kwargs=policy, seed=0, **PPO_ARGUMENTS)
    best = BestDesigns(tmp_path / "designs", 5, print)
    model.learn(64, callback=best)
    assert best.best
    assert read_list(tmp_path / "designs") == best.best
    assert best.best[0]["score"] > 0
    env.close()


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_extractor_reads_every_observation(geometry: str):
    env = DesignEnv("Vessel", observation=geometry, mask_in_observation=True)
    env.reset(seed=0)
    env.step(np.array([1, 0, 10, 10, 8, 8, 8, 8]))
    observation = env._observation()
    torch.manual_seed(0)
    extractor = DesignExtractor(env.observation_space, 32)
    batch = {key: torch.as_tensor(np.stack([value] * 2)) for key, value in observation.items()}
    features = extractor(batch)
    assert features.shape == (2, 32)
    masked = {**batch, "action_mask": 1 - batch["action_mask"]}
    assert torch.equal(extractor(masked), features)
    moved = {**batch, "geometry": torch.zeros_like(batch["geometry"])}
    assert not torch.equal(extractor(moved), features)
    blind = {**batch, "scalars": torch.zeros_like(batch["scalars"])}
    assert not torch.equal(extractor(blind), features)


def test_masked_ppo_takes_no_forbidden_action():
    pytest.importorskip("sb3_contrib")
    from rlgen.agents.maskable import MaskablePPO

    env = make_vec("Mast", 2, seed=0, env_kwargs={"horizon": 4, "mask_in_observation": True})
    policy = {"features_extractor_class": DesignExtractor}
    model = MaskablePPO("MultiInputPolicy", env, policy_kwargs=policy, seed=0, **PPO_ARGUMENTS)
    refusals: list[str] = []
    model.learn(64, callback=lambda local, _: refusals.extend(_codes(local["infos"])) or True)
    assert "masked" not in refusals
    observations = env.reset()
    for _ in range(12):  # predict reads the mask from the observation
        actions, _ = model.predict(observations)
        observations, _, _, infos = env.step(actions)
        assert "masked" not in _codes(infos)
    env.close()


def _codes(infos: list[dict]) -> list[str]:
    return [info["refused"] for info in infos if "refused" in info]


def test_masked_ppo_needs_masks():
    pytest.importorskip("sb3_contrib")
    from rlgen.agents.maskable import MaskablePPO

    with pytest.raises(UserError, match="agent=ppo"):
        MaskablePPO("MlpPolicy", make_vec("CartPole-v1", 1))
