"""The genetic operators on a population of chromosomes: pure functions of NumPy arrays.

Paper: Chang et al., "Genetic-Gated Networks for Deep Reinforcement Learning", NeurIPS 2018. Seen:
the gates are evolved by a genetic algorithm and the best one, the elite, is the network's.
Reconstructed: every operator and number below; the defaults of ``crossover`` and ``mutation`` come
from an unverified memory of the paper, low confidence.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rlgen.core.errors import UserError

Genes = npt.NDArray[np.uint8]  # population matrix (N, d), entries 0 and 1
Fitness = npt.NDArray[np.float64]  # (N,)
SELECTIONS = ("roulette", "uniform")


@dataclass(frozen=True)
class GeneticOptions:
    """Options of the genetic algorithm.

    Attributes:
        population_size: Individuals N; a multiple or a divisor of the number of environments.
        crossover: Probability p_cross that a child mixes two parents gene by gene.
        mutation: Probability p_mut that a gene of a child flips.
        episodes: Episodes K per individual and generation that its fitness averages.
        selection: ``roulette`` on F - min F, or ``uniform`` (an ablation: random gates).
        elitism: Keep the best individual unmutated as the next elite.
        elite_margin: A rival takes the elite's place only with a fitness above its by more than
            this, in units of the return.
        evolve: Run the genetic algorithm; False leaves the base algorithm with open gates.
        initial_open: Probability that a gene of the initial population is open; the initial elite
            is all open.
        max_gen_steps: Steps of an individual in one generation after which it is scored by the
            partial return of its running episode.
    """

    population_size: int = 16
    crossover: float = 0.8
    mutation: float = 0.03
    episodes: int = 1
    selection: str = "roulette"
    elitism: bool = True
    elite_margin: float = 0.0
    evolve: bool = True
    initial_open: float = 0.5
    max_gen_steps: int = 27_000

    def check(self, n_envs: int) -> None:
        """Checks the values.

        Raises:
            UserError: If one is out of its range, or N does not divide over the environments.
        """
        size = self.population_size
        if size < 1:
            raise UserError(f"population_size={size} is too small; type population_size=1 or more")
        if size % n_envs and n_envs % size:
            near = max(1, round(size / n_envs)) * n_envs
            raise UserError(
                f"population_size={size} does not divide over n_envs={n_envs}: one must be a "
                f"multiple of the other; type population_size={near} or another n_envs"
            )
        for name in ("crossover", "mutation", "initial_open"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise UserError(f"{name}={value} is not a probability; allowed: 0 to 1")
        if self.selection not in SELECTIONS:
            raise UserError(
                f"selection={self.selection!r} is unknown; allowed: {', '.join(SELECTIONS)}"
            )
        for name in ("episodes", "max_gen_steps"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)} is too small; allowed: 1 or more")


def initial_population(
    size: int, n_gates: int, generator: np.random.Generator, initial_open: float = 0.5
) -> Genes:
    """Returns a population (size, n_gates): row 0, the elite, all open, the others random."""
    population = (generator.random((size, n_gates)) < initial_open).astype(np.uint8)
    population[0] = 1
    return population


def selection_probabilities(fitness: Fitness) -> Fitness:
    """Returns the wheel p_i = (F_i - min F) / sum_j (F_j - min F), uniform if all are equal."""
    shifted = fitness - fitness.min()
    total = shifted.sum()
    if not total > 0:
        return np.full(len(fitness), 1 / len(fitness))
    return shifted / total


def best_individual(fitness: Fitness, elite: int, margin: float = 0.0) -> int:
    """Returns the new elite: the best one; ties go to the current elite, then to the lowest index.

    Args:
        fitness: Fitness F of each individual.
        elite: Index of the current elite.
        margin: By how much a rival must beat the elite.
    """
    best = int(np.argmax(fitness))
    return best if fitness[best] > fitness[elite] + margin else elite


def next_generation(
    population: Genes,
    fitness: Fitness,
    elite: int,
    options: GeneticOptions,
    generator: np.random.Generator,
) -> tuple[Genes, int]:
    """Breeds the next population; its elite is row 0.

    Args:
        population: Matrix M, (N, d).
        fitness: Fitness F, (N,).
        elite: Index of the current elite.
        options: Probabilities and choices.
        generator: Source of all random numbers used here.

    Returns:
        The new matrix, and the index in the old one of the individual that became the elite.
    """
    size, n_gates = population.shape
    best = best_individual(fitness, elite, options.elite_margin)
    uniform = options.selection == "uniform"
    chances = np.full(size, 1 / size) if uniform else selection_probabilities(fitness)
    first, second = generator.choice(size, size=(2, size), p=chances)
    crossed = generator.random((size, 1)) < options.crossover
    from_second = crossed & (generator.random((size, n_gates)) < 0.5)
    children = np.where(from_second, population[second], population[first])
    flipped = generator.random((size, n_gates)) < options.mutation
    children = (children ^ flipped).astype(np.uint8)
    if options.elitism:
        children[0] = population[best]
    return children, best


def diversity(population: Genes) -> float:
    """Returns the mean Hamming distance over all pairs of individuals, divided by d."""
    size = len(population)
    if size < 2:
        return 0.0
    ones = population.sum(axis=0, dtype=np.float64)
    # At one locus ones * (size - ones) of the size * (size - 1) / 2 pairs differ.
    return float((ones * (size - ones)).mean() / (size * (size - 1) / 2))
