"""How hard the tasks are: a masked random agent and a small cross-entropy search."""

from collections.abc import Callable

import numpy as np
import pytest

from rlgen.envs.design.measure.conditions import METRICS
from rlgen.envs.design.measure.metrics import evaluate
from rlgen.envs.design.shape.geometry import apply
from rlgen.envs.design.shape.masks import operation_mask
from rlgen.envs.design.shape.operations import FINISH, LATTICE, UNDO, Action
from rlgen.envs.design.shape.solids import EMPTY, Solid
from rlgen.envs.design.shape.space import DesignSpace
from rlgen.envs.design.task.experts import EXPERTS, expert
from rlgen.envs.design.task.goal_sampling import LEVELS, sample_goal
from rlgen.envs.design.task.local_moves import replay
from rlgen.envs.design.task.presets import make_task
from rlgen.envs.design.task.tasks import Task, score

SPACE = DesignSpace()


def worth(solid: Solid, task: Task) -> float:
    return score(evaluate(solid.mesh, task.metrics, task.conditions), task)


def random_design(rng: np.random.Generator, steps: int = 10) -> Solid:
    """Plays actions that the mask allows, operations equally often; finish ends it."""
    solids, last_was_undo = [EMPTY], False
    for _ in range(steps):
        mask = operation_mask(solids[-1], len(solids) - 1, last_was_undo, SPACE)
        op = int(rng.choice(np.flatnonzero(mask.any(1))))
        mode = int(rng.choice(np.flatnonzero(mask[op])))
        last_was_undo = op == UNDO
        if op == FINISH:
            break
        if op == UNDO:
            solids.pop()
            continue
        params = rng.integers(-LATTICE, LATTICE + 1, 6) / LATTICE
        outcome = apply(solids[-1], Action.from_floats(op, mode, params), SPACE)
        if outcome.refused is None:
            solids.append(outcome.solid)
    return solids[-1]


def cross_entropy(
    value: Callable[[Solid], float], rng: np.random.Generator, rounds: int, slots: int = 4
) -> float:
    """Searches sequences of actions: 50 a round, moving towards the best six; returns the best."""
    ops, modes = np.full((slots, UNDO), 1 / UNDO), np.full((slots, 3), 1 / 3)
    mean, spread, best = np.zeros((slots, 6)), np.full((slots, 6), 0.7), 0.0
    for _ in range(rounds):
        found = []
        for _ in range(50):
            actions = [
                Action.from_floats(
                    int(rng.choice(UNDO, p=ops[slot])),
                    int(rng.choice(3, p=modes[slot])),
                    rng.normal(mean[slot], spread[slot]),
                )
                for slot in range(slots)
            ]
            found.append((value(replay(actions)), actions))
        found.sort(key=lambda pair: -pair[0])
        best = max(best, found[0][0])
        for slot in range(slots):
            chosen = [actions[slot] for _, actions in found[:6]]
            for shares, numbers in (
                (ops, [a.op for a in chosen]),
                (modes, [a.mode for a in chosen]),
            ):
                seen = np.bincount(numbers, minlength=shares.shape[1]) / len(chosen)
                shares[slot] = 0.3 * shares[slot] + 0.7 * seen
            params = np.array([action.params for action in chosen])
            mean[slot] = 0.3 * mean[slot] + 0.7 * params.mean(0)
            spread[slot] = 0.3 * spread[slot] + 0.7 * params.std(0) + 0.02
    return best


@pytest.fixture(scope="module")
def random_designs() -> list[Solid]:
    rng = np.random.default_rng(0)
    return [random_design(rng) for _ in range(50)]


@pytest.mark.parametrize("name", EXPERTS)
def test_random_agents_score_little(name: str, random_designs: list[Solid]) -> None:
    """Invariant 26: mean of 50 masked episodes of 10 actions."""
    scores = np.array([worth(solid, make_task(name)) for solid in random_designs])
    assert 0.02 < scores.mean() <= 0.25
    assert scores.max() < 0.99


@pytest.mark.parametrize("preset", LEVELS)
def test_random_agents_reach_few_sampled_goals(preset: str, random_designs: list[Solid]) -> None:
    rng = np.random.default_rng(1)
    scores = []
    for solid in random_designs:
        goal = sample_goal(rng, preset).task
        scores.append(score(evaluate(solid.mesh, METRICS, goal.conditions), goal))
    assert np.mean(scores) <= 0.35


def test_the_expert_beats_a_short_search_on_reach() -> None:
    """Invariant 26: cross-entropy search with 200 evaluations."""
    task = make_task("Reach")
    searched = cross_entropy(lambda solid: worth(solid, task), np.random.default_rng(0), rounds=4)
    assert 0.2 < searched < 0.9
    assert worth(expert("Reach").solid, task) > searched + 0.1
