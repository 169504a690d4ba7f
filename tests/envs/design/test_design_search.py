"""Searches: the same for the same seed, within their limits, and better than chance."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from rlgen.core.errors import UserError
from rlgen.envs.design.encodings import encode
from rlgen.envs.design.shape.history import Design
from rlgen.envs.design.shape.operations import BIN_STEP, FINISH, UNDO, Action
from rlgen.envs.design.shape.space import Cylinder, DesignSpace
from rlgen.envs.design.solve.brief import Brief
from rlgen.envs.design.solve.search import (
    Appraiser,
    CemOptions,
    Trial,
    cem_search,
    limited,
    local_search,
    moved,
    policy_search,
    random_search,
)
from rlgen.envs.design.solve.solving import Budget, Pool, ranked, short_name, solve
from rlgen.envs.design.task.experts import expert

SMALL = CemOptions(population=20, elites=4, generations=5)


@pytest.fixture(scope="module")
def mast() -> Brief:
    return Brief.of_task("Mast")


def hashes(trials) -> list[tuple[str, float]]:
    return [(t.design.solid.sha256, t.score) for t in trials]


def searches(brief: Brief, seed: int):
    cup = Design.from_actions(expert("Mast").actions[:1])
    yield random_search(brief, seed)
    yield cem_search(brief, seed, SMALL)
    yield local_search(brief, [cup], seed)


@pytest.mark.parametrize("which", range(3))
def test_the_same_seed_gives_the_same_designs(mast: Brief, which: int) -> None:
    def run(seed: int) -> list[tuple[str, float]]:
        return hashes(limited(list(searches(mast, seed))[which], 15))

    assert run(1) == run(1) != run(2)


def test_limits(mast: Brief) -> None:
    endless = (Trial(Design(), 0.0) for _ in itertools.count())
    assert len(list(limited(endless, evaluations=7))) == 7
    assert len(list(limited(endless, minutes=0.0))) == 1
    assert list(limited(endless, evaluations=0)) == []


def test_cross_entropy_beats_chance(mast: Brief) -> None:
    """Invariant 26, in part: what the baselines reach."""
    chance = max(t.score for t in limited(random_search(mast, 0, length=4), 100))
    trials = list(limited(cem_search(mast, 0, SMALL), 100))
    first, last = (np.mean([t.score for t in part]) for part in (trials[:20], trials[-20:]))
    assert last > first + 0.2
    assert max(t.score for t in trials) > chance


@pytest.mark.slow
@pytest.mark.parametrize(("task", "least"), [("Mast", 0.87), ("Vessel", 0.99), ("Reach", 0.74)])
def test_cross_entropy_reaches_the_figures_of_the_baseline(task: str, least: float) -> None:
    trials = limited(cem_search(Brief.of_task(task), 0), 2000)
    assert max(trial.score for trial in trials) >= least


def test_searches_keep_to_the_allowed_operations_and_the_horizon(mast: Brief) -> None:
    brief = replace(mast, allowed=("prism", "taper"), horizon=2)
    trials = [*limited(random_search(brief, 0), 30), *limited(cem_search(brief, 0, SMALL), 60)]
    names = {action.name for trial in trials for action in trial.design.actions}
    assert names == {"prism", "taper"}
    assert max(len(trial.design) for trial in trials) == 2


def test_the_seed_stays_as_it_is() -> None:
    """Invariant 24: locked operations are a prefix of every design found."""
    cup = Design.from_actions(expert("Vessel").actions)
    brief = Brief.of_task("Vessel").forked(cup, 1)
    found = [t.design for t in limited(cem_search(brief, 0, SMALL), 40)]
    found += [t.design for t in limited(random_search(brief, 0), 10)]
    longer = max(found, key=len)
    found += [t.design for t in limited(local_search(brief, [longer], 0), 30)]
    assert all(design.actions[:1] == cup.actions[:1] for design in found)
    assert all(design.locked == 1 for design in found)
    assert len({design.solid.sha256 for design in found}) > 10


def test_local_search_improves_and_ends(mast: Brief) -> None:
    rod = Action.named("cylinder", "add", radius_low=20, radius_high=4, height=100)
    start = Design.from_actions([rod])
    before = Appraiser(mast).score(start.solid)
    trials = list(local_search(mast, [start], 0, patience=25))
    best = max(trial.score for trial in trials)
    assert best > before + 0.05
    assert len(trials) < 2000  # ended by itself


def test_moves_stay_on_the_lattice() -> None:
    action = Action(1, 0, (500, 0, 0, 0, 0, 0))
    assert moved(action, 0, BIN_STEP).k[0] == 512
    assert moved(action, 1, -2 * BIN_STEP).k[1] == -128


def test_keep_in_volumes_count(mast: Brief) -> None:
    space = DesignSpace(keep_in=(Cylinder((0, 0), 10, 0, 100),))
    rod = Action.named("cylinder", "add", radius_low=20, radius_high=20, height=50)
    design = Design(space)
    assert design.apply(rod) is None
    half = Appraiser(replace(mast, space=space)).score(design.solid)
    assert half == pytest.approx(0.5 * Appraiser(mast).score(design.solid), rel=0.01)


def test_a_policy_designs(mast: Brief) -> None:
    cup = expert("Mast").actions
    plan = [encode(action, "hybrid") for action in cup]
    plan.append(encode(Action(FINISH, 0, (0,) * 6), "hybrid"))
    step = 0

    def policy(observation, mask, first):
        nonlocal step
        step = 0 if first else step + 1
        assert mask.shape == (16, 3)
        assert observation["scalars"].shape == (24,)
        return plan[step]

    episodes = []
    trials = policy_search(mast, policy, 0, {"encoding": "hybrid"}, on_episode=episodes.append)
    found = list(limited(trials, 2))
    assert [trial.design.actions for trial in found] == [cup, cup]
    assert found[0].score >= 0.99
    assert episodes == [0, 1]


def test_the_pool_keeps_the_best_of_every_form() -> None:
    pool = Pool()
    for number in range(12):
        rod = Action.named("cylinder", "add", radius_low=20 + number, radius_high=9, height=90)
        pool.add(Trial(Design.from_actions([rod]), 0.5 + 0.01 * number))
    box = Action.named("box", "add", size_x=30, size_y=30, size_z=90)
    for _ in range(2):
        pool.add(Trial(Design.from_actions([box]), 0.4))
    pool.add(Trial(Design(), 0.0))
    assert (pool.evaluations, pool.n_forms, len(pool)) == (15, 2, 5)
    assert pool.best == pytest.approx(0.61)
    assert [round(one.score, 2) for one in pool.candidates()] == [0.61, 0.6, 0.59, 0.58, 0.4]


def test_a_choice_has_several_forms() -> None:
    brief, pool = Brief.of_task("Mast"), Pool()
    appraiser = Appraiser(brief)
    for radius in (20, 24, 28, 32):
        for op, sides in (("cylinder", {}), ("prism", {"sides": 5})):
            size = {"radius": radius} if sides else {"radius_low": radius, "radius_high": 5}
            design = Design.from_actions([Action.named(op, "add", height=120, **size, **sides)])
            pool.add(appraiser.trial(design))
    chosen = pool.choice(brief, 2, appraiser)
    assert {one.design.actions[0].name for one in chosen} == {"cylinder", "prism"}
    assert [s.score for _, s in ranked(brief, chosen)] == sorted(
        (s.score for _, s in ranked(brief, chosen)), reverse=True
    )
    assert short_name(3, chosen[0].design).startswith("03 ")


def test_solving_spends_its_budget_and_stops_when_told(mast: Brief) -> None:
    def run(watch) -> Pool:
        appraiser = Appraiser(mast)
        trials = cem_search(mast, 0, SMALL, appraiser)
        return solve(mast, trials, appraiser, Budget(evaluations=50), 3, 0, watch)

    assert run(lambda pool: True).evaluations == 50  # 40 and 10
    assert run(lambda pool: pool.evaluations < 15).evaluations == 15


def test_settings_that_do_not_fit(mast: Brief) -> None:
    with pytest.raises(UserError, match="give 1 to the population"):
        next(cem_search(mast, 0, CemOptions(population=5, elites=6)))


def test_undo_and_finish_are_no_choices(mast: Brief) -> None:
    trials = limited(random_search(mast, 4), 20)
    assert all(action.op < UNDO for trial in trials for action in trial.design.actions)
