"""The genetic operators on a population of chromosomes: pure functions of NumPy arrays.

Paper: Chang et al., "Genetic-Gated Networks for Deep Reinforcement Learning", NeurIPS 2018. Seen:
the gates are evolved by a genetic algorithm and the best one, the elite, is the network's.
Reconstructed: every operator and number below; the defaults of ``crossover`` and ``mutation`` come
from an unverified memory of the paper, low confidence.
"""

import numpy as np
import numpy.typing as npt

from rlgen.agents.options import GeneticOptions

Genes = npt.NDArray[np.uint8]  # population matrix (N, d), entries 0 and 1
Fitness = npt.NDArray[np.float64]  # (N,)


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
