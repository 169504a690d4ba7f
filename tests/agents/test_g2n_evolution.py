"""Who acts where, who is credited, and when the population breeds."""

from typing import Any

import numpy as np
import pytest

from rlgen.agents.g2n.evolution import NOBODY, Evolution
from rlgen.agents.options import GeneticOptions

GENES = 24


def evolution(size: int = 6, n_envs: int = 3, **options: Any) -> Evolution:
    return Evolution(
        GeneticOptions(population_size=size, **options), GENES, n_envs, np.random.default_rng(0)
    )


class Simulation:
    """Random episodes played under an evolution, with its own books.

    The return of an episode is the number of open gates of the individual at its start, so the
    simulation knows what each episode is worth and who must be credited.
    """

    def __init__(self, evo: Evolution, seed: int = 0, mean_length: float = 4.0) -> None:
        self.evo = evo
        self.random = np.random.default_rng(seed)
        self.stop = 1 / mean_length
        self.envs = len(evo.assigned)
        self.began_in_phase = np.ones(self.envs, dtype=bool)
        self.credited: list[tuple[int, float]] = []
        self.generations: list[dict[str, float]] = []
        self.steps = 0

    def rollout(self, steps: int = 5) -> None:
        was_evolving = self.evo.evolving
        assigned, generation = self.evo.assigned.copy(), self.evo.generation
        bred = self.evo.begin_rollout()
        if bred:
            self.generations.append(bred)
        if self.evo.evolving and not was_evolving:
            self.credited = []
            self.began_in_phase = self.evo.at_start.copy()
            assert (self.evo.assigned[~self.evo.at_start] == NOBODY).all()
        elif generation == self.evo.generation:
            np.testing.assert_array_equal(assigned, self.evo.assigned)
        for _ in range(steps):
            self.step()

    def step(self) -> None:
        evo = self.evo
        gates, assigned = evo.acting.copy(), evo.assigned.copy()
        ended = {int(e): gates[e].sum() for e in np.flatnonzero(self.random.random(3) < self.stop)}
        for env, value in ended.items():
            if evo.evolving and self.began_in_phase[env]:
                assert assigned[env] != NOBODY
                self.credited.append((int(assigned[env]), float(value)))
            self.began_in_phase[env] = evo.evolving
        evo.step(np.zeros(self.envs), ended)
        self.steps += self.envs
        for env in range(self.envs):
            if env not in ended:  # nothing changes inside an episode
                assert evo.assigned[env] == assigned[env]
                np.testing.assert_array_equal(evo.acting[env], gates[env])
            elif evo.evolving:
                individual = evo.assigned[env]
                np.testing.assert_array_equal(evo.acting[env], evo.population[individual])
            else:
                assert evo.assigned[env] == NOBODY
                np.testing.assert_array_equal(evo.acting[env], evo.elite_gates)


@pytest.mark.parametrize("episodes", [1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_books_agree(seed: int, episodes: int) -> None:
    """Each whole episode of a phase is credited once, to the individual that played it."""
    simulation = Simulation(evolution(episodes=episodes), seed)
    evo = simulation.evo
    for _ in range(200):
        simulation.rollout()
        count = np.bincount([i for i, _ in simulation.credited], minlength=6)
        total = np.bincount(
            [i for i, _ in simulation.credited], [v for _, v in simulation.credited], 6
        )
        if evo.evolving:
            np.testing.assert_array_equal(evo.fitness_count, count)
            np.testing.assert_allclose(evo.fitness_sum, total)
    assert len(simulation.generations) > 5
    assert evo.elite_steps + evo.evolve_steps == simulation.steps
    assert evo.elite_steps > 0
    assert evo.evolve_steps > 0


@pytest.mark.parametrize("episodes", [1, 3])
def test_each_individual_gets_its_episodes(episodes: int) -> None:
    simulation = Simulation(evolution(episodes=episodes))
    evo = simulation.evo
    before = 0
    for _ in range(300):
        count = evo.fitness_count.copy()
        simulation.rollout()
        if evo.generation > before:
            before = evo.generation
            assert count.min() >= episodes
            assert simulation.generations[-1]["episodes"] == count.sum()
    assert before > 3


def test_fitness_is_the_mean_return() -> None:
    evo = evolution(size=2, n_envs=2, episodes=2, mutation=1.0)
    evo.evolving = True
    evo.restart_episodes(2)
    returns = iter([1.0, 10.0, 3.0, 20.0])
    for _ in range(2):
        evo.step(np.zeros(2), {0: next(returns), 1: next(returns)})
    best = evo.population[1].copy()
    bred = evo.begin_rollout()
    assert bred is not None
    assert (bred["fitness_max"], bred["fitness_min"], bred["fitness_mean"]) == (15.0, 2.0, 8.5)
    assert bred["fitness_elite"] == 2.0
    assert bred["elite_changed"] == 1
    np.testing.assert_array_equal(evo.elite_gates, best)


def test_least_evaluated_individual_is_next() -> None:
    evo = evolution(size=6, n_envs=3)
    evo.evolving = True
    evo.restart_episodes(3)
    assert evo.assigned.tolist() == [0, 1, 2]
    evo.step(np.zeros(3), {1: 0.0})
    assert evo.assigned.tolist() == [0, 3, 2]
    evo.step(np.zeros(3), {0: 0.0, 2: 0.0})
    assert evo.assigned.tolist() == [4, 3, 5]
    evo.step(np.zeros(3), {1: 0.0})  # now 0 to 3 have one each: 4 and 5 are running
    assert evo.assigned.tolist() == [4, 0, 5]


def test_elite_phase_takes_as_long_as_the_last_evolving_phase() -> None:
    simulation = Simulation(evolution(size=3))
    evo, lengths, was = simulation.evo, [], False
    for _ in range(300):
        steps = evo.phase_steps
        evolving = evo.evolving
        simulation.rollout(steps=1)
        if evo.evolving != evolving:
            lengths.append((was, steps))
            was = evo.evolving
    pairs = list(zip(lengths[1::2], lengths[2::2], strict=False))
    assert len(pairs) > 5
    for (evolved, steps), (not_evolved, elite_steps) in pairs:
        assert evolved
        assert not not_evolved
        assert elite_steps == steps


def test_first_elite_phase_takes_as_many_episodes_as_a_generation() -> None:
    evo = evolution(size=6, n_envs=3)
    for episode in range(6):
        assert evo.begin_rollout() is None
        assert not evo.evolving, episode
        evo.step(np.zeros(3), {0: 1.0})
    evo.begin_rollout()
    assert evo.evolving


def test_episodes_across_a_phase_change_count_for_nobody() -> None:
    evo = evolution(size=3, n_envs=3)
    for _ in range(3):
        evo.step(np.zeros(3), {0: 1.0})
    evo.step(np.zeros(3), {})  # all three environments are inside an episode now
    evo.begin_rollout()
    assert evo.evolving
    assert evo.assigned.tolist() == [NOBODY] * 3
    assert (evo.acting == 1).all(), "they run out under the elite's gates"
    evo.step(np.zeros(3), {0: 99.0, 1: 99.0, 2: 99.0})
    assert evo.fitness_count.sum() == 0
    assert evo.assigned.tolist() == [0, 1, 2]
    evo.step(np.zeros(3), {0: 1.0, 1: 2.0, 2: 3.0})
    played = evo.acting.copy()
    assert evo.begin_rollout() is not None
    np.testing.assert_array_equal(evo.acting, np.tile(evo.elite_gates, (3, 1)))
    assert (played[1:] != evo.acting[1:]).any(), "at a boundary the elite takes over at once"


def test_long_episodes_are_scored_by_the_partial_return() -> None:
    evo = evolution(size=3, n_envs=3, max_gen_steps=4)
    evo.evolving = True
    evo.restart_episodes(3)
    for _ in range(3):
        evo.step(np.array([1.0, 2.0, 3.0]), {})
    assert evo.fitness_count.sum() == 0
    evo.step(np.array([1.0, 2.0, 3.0]), {})
    assert evo.fitness_count.tolist() == [1, 1, 1]
    assert evo.fitness_sum.tolist() == [4.0, 8.0, 12.0]
    evo.step(np.array([1.0, 2.0, 3.0]), {0: 50.0})  # the rest of the episode counts for nobody
    assert evo.fitness_sum.tolist() == [4.0, 8.0, 12.0]


def test_the_limit_counts_the_steps_of_an_episode() -> None:
    evo = evolution(size=6, n_envs=3, max_gen_steps=4)
    evo.evolving = True
    evo.restart_episodes(3)
    for ended in ({}, {}, {0: 7.0}, {}):
        evo.step(np.ones(3), ended)
    assert evo.assigned.tolist() == [3, NOBODY, NOBODY]
    assert evo.fitness_count.tolist() == [1, 1, 1, 0, 0, 0]
    for _ in range(3):
        evo.step(np.ones(3), {})
    assert evo.fitness_count.tolist() == [1, 1, 1, 1, 0, 0]


def test_no_partial_return_beside_enough_whole_ones() -> None:
    evo = evolution(size=3, n_envs=3, max_gen_steps=4)
    evo.evolving = True
    evo.restart_episodes(3)
    evo.step(np.ones(3), {0: 7.0, 1: 8.0, 2: 9.0})
    for _ in range(6):
        evo.step(np.ones(3), {})
    assert evo.fitness_sum.tolist() == [7.0, 8.0, 9.0]


def test_partial_returns_of_the_environment_go_first() -> None:
    evo = evolution(size=3, n_envs=3, max_gen_steps=1)
    evo.evolving = True
    evo.restart_episodes(3)
    evo.step(np.ones(3), {}, np.array([7.0, 8.0, 9.0]))  # rewards are clipped, these are not
    assert evo.fitness_sum.tolist() == [7.0, 8.0, 9.0]


def test_relabelling_individuals_changes_no_gates() -> None:
    evo, other = evolution(), evolution()
    order = np.array([3, 0, 5, 1, 4, 2])
    other.population = evo.population[order]
    other.elite = int(np.flatnonzero(order == evo.elite)[0])
    np.testing.assert_array_equal(other.elite_gates, evo.elite_gates)
    for one in (evo, other):
        one.evolving = True
        one.restart_episodes(3)
    np.testing.assert_array_equal(other.acting, evo.population[order[other.assigned]])


def test_without_evolution_only_the_elite_acts() -> None:
    simulation = Simulation(evolution(evolve=False))
    for _ in range(50):
        simulation.rollout()
    assert simulation.evo.evolve_steps == 0
    assert simulation.evo.elite_steps == simulation.steps
    assert (simulation.evo.acting == 1).all()


def test_state_survives() -> None:
    simulation = Simulation(evolution())
    while not (simulation.evo.evolving and simulation.evo.generation == 3):
        simulation.rollout()
    simulation.rollout()
    counters, arrays = simulation.evo.state()
    other = evolution()
    other.restore(counters, {name: array.copy() for name, array in arrays.items()})
    np.testing.assert_array_equal(other.population, simulation.evo.population)
    np.testing.assert_array_equal(other.fitness_count, simulation.evo.fitness_count)
    np.testing.assert_array_equal(other.fitness_sum, simulation.evo.fitness_sum)
    for name in ("elite", "generation", "evolving", "evolve_steps", "elite_budget"):
        assert getattr(other, name) == getattr(simulation.evo, name)
    assert (other.assigned != NOBODY).all(), "all environments begin anew"


def test_state_of_another_shape_is_refused() -> None:
    counters, arrays = evolution(size=3).state()
    with pytest.raises(ValueError, match=r"\(3, 24\), this one \(6, 24\)"):
        evolution(size=6).restore(counters, arrays)
