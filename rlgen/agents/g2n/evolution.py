"""Who acts where, who is credited, and when the population breeds.

Paper: Chang et al., NeurIPS 2018. Seen: training alternates a phase in which only the elite acts
with one in which all individuals collect experience. Reconstructed: everything else, in particular
that the phases take turns in equal numbers of environment steps, that one generation is bred per
cycle, and the rules of credit:

* The gates of an environment change only where an episode begins, so that a return belongs to one
  individual. Episodes in progress when a phase begins run out under the gates they began with and
  count for nobody.
* In the evolving phase an environment that begins an episode gets the individual with the fewest
  completed and running episodes, the lowest index among equals.
* An individual that does not finish within ``max_gen_steps`` is scored by its partial return.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from rlgen.agents.g2n.population import (
    Genes,
    diversity,
    initial_population,
    next_generation,
)
from rlgen.agents.options import GeneticOptions

NOBODY = -1
_COUNTERS = (
    "elite",
    "generation",
    "elite_changes",
    "evolving",
    "phase_steps",
    "phase_episodes",
    "elite_steps",
    "evolve_steps",
    "elite_budget",
)


class Evolution:
    """The population, its fitness table and the assignment of individuals to environments.

    Args:
        options: Of the genetic algorithm.
        n_gates: Length d of a chromosome.
        n_envs: Number of environments.
        generator: Source of the genetic algorithm's random numbers.

    Attributes:
        population: Matrix M, (N, d).
        elite: Index of the elite in it.
        acting: Gates of each environment, float32 (n_envs, d).
        assigned: Individual whose episode runs in each environment, or ``NOBODY``.
        evolving: Whether the evolving phase runs.
        last_best: Best fitness of the last generation, NaN before the first.
        elite_steps: Environment steps of all elite phases; ``evolve_steps`` of the others.
    """

    def __init__(
        self, options: GeneticOptions, n_gates: int, n_envs: int, generator: np.random.Generator
    ) -> None:
        self.options = options
        self.generator = generator
        self.population = initial_population(
            options.population_size, n_gates, generator, options.initial_open
        )
        self.elite = 0
        self.generation = 0
        self.elite_changes = 0
        self.evolving = False
        self.phase_steps = 0
        self.phase_episodes = 0
        self.elite_steps = 0
        self.evolve_steps = 0
        self.last_best = float("nan")  # best fitness of the last generation, for progress bars
        self.elite_budget = 0  # steps of the next elite phase; 0: not known before the first cycle
        self.fitness_sum = np.zeros(options.population_size)
        self.fitness_count = np.zeros(options.population_size, dtype=np.int64)
        self.restart_episodes(n_envs)

    def restart_episodes(self, n_envs: int) -> None:
        """Forgets running episodes: all environments are about to begin new ones."""
        self.acting = np.tile(self.elite_gates, (n_envs, 1)).astype(np.float32)
        self.assigned = np.full(n_envs, NOBODY)
        self.at_start = np.ones(n_envs, dtype=np.bool_)
        self.partial_return = np.zeros(n_envs)
        self.episode_steps = np.zeros(n_envs, dtype=np.int64)
        if self.evolving:
            for env in range(n_envs):
                self._assign(env)

    @property
    def elite_gates(self) -> Genes:
        """The chromosome of the elite, (d,)."""
        return self.population[self.elite]

    def begin_rollout(self) -> dict[str, float] | None:
        """Changes the phase where it is due; call before each rollout.

        Returns:
            Statistics of the generation just bred, or None.
        """
        if not self.options.evolve:
            return None
        if not self.evolving:
            if self._elite_phase_is_over():
                self._begin_evolving()
            return None
        if self.fitness_count.min() < self.options.episodes:
            return None
        return self._breed()

    def _elite_phase_is_over(self) -> bool:
        if self.elite_budget:
            return self.phase_steps >= self.elite_budget
        # No evolving phase has been yet whose length could be matched: match its episodes.
        wanted = self.options.episodes * self.options.population_size
        return (
            self.phase_episodes >= wanted or self.phase_steps >= wanted * self.options.max_gen_steps
        )

    def _begin_evolving(self) -> None:
        self._change_phase(evolving=True)
        self.fitness_sum[:] = 0
        self.fitness_count[:] = 0
        for env in np.flatnonzero(self.at_start):
            self._assign(int(env))

    def _breed(self) -> dict[str, float]:
        fitness = self.fitness_sum / self.fitness_count
        statistics = self._describe(fitness)
        self.last_best = statistics["fitness_max"]
        old_gates = self.elite_gates.copy()
        self.population, best = next_generation(
            self.population, fitness, self.elite, self.options, self.generator
        )
        changed = best != self.elite or not self.options.elitism
        self.elite = 0
        self.generation += 1
        self.elite_changes += int(changed)
        self.elite_budget = self.phase_steps
        statistics |= {
            "generation": self.generation,
            "elite_changed": float(changed),
            "elite_changes": self.elite_changes,
            "elite_flipped_genes": float((old_gates != self.elite_gates).mean()),
            "open_fraction_elite": float(self.elite_gates.mean()),
            "open_fraction_population": float(self.population.mean()),
            "diversity": diversity(self.population),
        }
        self._change_phase(evolving=False)
        return statistics

    def _change_phase(self, evolving: bool) -> None:
        self.evolving = evolving
        self.phase_steps = 0
        self.phase_episodes = 0
        self.assigned[:] = NOBODY
        self.acting[self.at_start] = self.elite_gates

    def _describe(self, fitness: npt.NDArray[np.float64]) -> dict[str, float]:
        return {
            "fitness_max": float(fitness.max()),
            "fitness_mean": float(fitness.mean()),
            "fitness_min": float(fitness.min()),
            "fitness_elite": float(fitness[self.elite]),
            "episodes": float(self.fitness_count.sum()),
            "generation_steps": float(self.phase_steps),
        }

    def step(
        self,
        rewards: npt.NDArray[Any],
        ended: dict[int, float],
        running_returns: npt.NDArray[np.float64] | None = None,
    ) -> bool:
        """Takes note of one step of all environments.

        Args:
            rewards: Rewards of the step, (n_envs,).
            ended: Raw return of each episode that ended, by environment.
            running_returns: Raw returns so far of the running episodes, where the environment
                knows them; otherwise the rewards are summed.

        Returns:
            Whether the gates of an environment changed.
        """
        count = len(self.assigned)
        self.phase_steps += count
        if self.evolving:
            self.evolve_steps += count
        else:
            self.elite_steps += count
        self.partial_return += rewards
        self.episode_steps += 1
        self.at_start[:] = False
        for env, episode_return in ended.items():
            self._end_episode(env, episode_return)
        if self.evolving and self.episode_steps.max() >= self.options.max_gen_steps:
            self._score_unfinished(
                self.partial_return if running_returns is None else running_returns
            )
        return bool(ended)

    def _end_episode(self, env: int, episode_return: float) -> None:
        self.phase_episodes += 1
        self._credit(env, episode_return)
        self.at_start[env] = True
        self.partial_return[env] = 0
        self.episode_steps[env] = 0
        if self.evolving:
            self._assign(env)
        else:
            self.acting[env] = self.elite_gates

    def _credit(self, env: int, episode_return: float) -> None:
        individual = self.assigned[env]
        if individual != NOBODY:
            self.fitness_sum[individual] += episode_return
            self.fitness_count[individual] += 1
            self.assigned[env] = NOBODY

    def _assign(self, env: int) -> None:
        running = np.bincount(
            self.assigned[self.assigned != NOBODY], minlength=len(self.population)
        )
        individual = int(np.argmin(self.fitness_count + running))
        self.assigned[env] = individual
        self.acting[env] = self.population[individual]

    def _score_unfinished(self, returns: npt.NDArray[np.float64]) -> None:
        slow = (self.episode_steps >= self.options.max_gen_steps) & (self.assigned != NOBODY)
        for env in np.flatnonzero(slow):
            if self.fitness_count[self.assigned[env]] < self.options.episodes:
                self._credit(int(env), float(returns[env]))

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Returns everything but running episodes: counters (JSON values) and arrays."""
        counters = {name: int(getattr(self, name)) for name in _COUNTERS}
        arrays: dict[str, npt.NDArray[Any]] = {
            "population": self.population,
            "fitness_sum": self.fitness_sum,
            "fitness_count": self.fitness_count,
        }
        return counters, arrays

    def restore(self, counters: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> None:
        """Puts a state back; all environments begin new episodes.

        Raises:
            ValueError: If it belongs to a population of another shape.
        """
        if arrays["population"].shape != self.population.shape:
            raise ValueError(
                f"the saved population is {arrays['population'].shape}, "
                f"this one {self.population.shape}"
            )
        for name in _COUNTERS:
            setattr(self, name, counters[name])
        self.evolving = bool(self.evolving)
        for name, array in arrays.items():
            getattr(self, name)[:] = array
        self.restart_episodes(len(self.assigned))
