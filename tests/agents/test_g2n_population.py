"""The genetic operators on chromosomes."""

from typing import Any

import numpy as np
import pytest

from rlgen.agents.g2n import GeneticOptions, next_generation, selection_probabilities
from rlgen.agents.g2n.population import best_individual, diversity, initial_population
from rlgen.core.errors import UserError


def population(size: int, genes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (size, genes), dtype=np.uint8)


def breed(
    matrix: np.ndarray, fitness: np.ndarray | None = None, seed: int = 1, elite: int = 0, **kw: Any
) -> np.ndarray:
    fitness = np.arange(len(matrix), dtype=float) if fitness is None else fitness
    options = GeneticOptions(population_size=len(matrix), **kw)
    return next_generation(matrix, fitness, elite, options, np.random.default_rng(seed))[0]


def rows(matrix: np.ndarray) -> set[bytes]:
    return {row.tobytes() for row in matrix}


def test_first_population() -> None:
    first = initial_population(200, 50, np.random.default_rng(0))
    assert first.dtype == np.uint8
    assert (first[0] == 1).all()
    ones = int(first[1:].sum())
    assert abs(ones - 199 * 25) < 4 * np.sqrt(199 * 50 / 4)
    assert initial_population(200, 50, np.random.default_rng(0), 0.9)[1:].mean() > 0.88


def test_stays_binary_and_keeps_its_shape() -> None:
    matrix, generator = population(10, 30), np.random.default_rng(2)
    options = GeneticOptions(population_size=10, mutation=0.2)
    for _ in range(50):
        fitness = generator.standard_normal(10)
        matrix, best = next_generation(matrix, fitness, 0, options, generator)
        assert matrix.shape == (10, 30)
        assert matrix.dtype == np.uint8
        assert matrix.max() <= 1
        assert best == fitness.argmax()


@pytest.mark.parametrize("seed", range(5))
def test_elite_is_copied_unmutated(seed: int) -> None:
    matrix = population(8, 40, seed)
    fitness = np.random.default_rng(seed).standard_normal(8)
    child = breed(matrix, fitness, seed, mutation=0.5)[0]
    np.testing.assert_array_equal(child, matrix[fitness.argmax()])


def test_without_elitism_the_first_child_is_bred_too() -> None:
    matrix = population(8, 40)
    children = breed(matrix, mutation=1.0, crossover=0.0, elitism=False)
    assert rows(children) <= rows(1 - matrix)


def test_neither_mutation_nor_crossover_copies_parents() -> None:
    matrix = population(12, 40)
    assert rows(breed(matrix, mutation=0.0, crossover=0.0)) <= rows(matrix)


def test_without_mutation_each_gene_is_a_parents_at_its_place() -> None:
    matrix = population(12, 40)
    matrix[:, :10] = 1
    matrix[:, 10:20] = 0
    children = breed(matrix, mutation=0.0, crossover=1.0)
    assert (children[:, :10] == 1).all()
    assert (children[:, 10:20] == 0).all()


def test_crossover_mixes_two_parents_by_a_fair_coin() -> None:
    """Parents are all zeros and all ones: a child of both is half ones, a copy is pure."""
    matrix = np.zeros((2000, 50), dtype=np.uint8)
    matrix[1000:] = 1
    children = breed(matrix, np.ones(2000), mutation=0.0, crossover=0.6)[1:]
    share = children.mean(axis=1)
    mixed = (share > 0) & (share < 1)
    # 0.6 of the children are crossed, and half of these have two different parents.
    assert abs(mixed.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 1999)
    genes = children[mixed]
    assert abs(genes.mean() - 0.5) < 4 * np.sqrt(0.25 / genes.size)
    # An unfair coin would show in each child: its ones have the variance 50 / 4 of fair ones.
    variance = np.square(genes.sum(axis=1) - 25.0).mean()
    assert abs(variance / 12.5 - 1) < 4 * np.sqrt(2 / len(genes))


def test_full_mutation_gives_complements() -> None:
    matrix = population(12, 40)
    children = breed(matrix, mutation=1.0, crossover=0.0)
    assert rows(children[1:]) <= rows(1 - matrix)
    np.testing.assert_array_equal(children[0], matrix[11])


def test_equal_rows_without_mutation_stay() -> None:
    matrix = np.tile(population(1, 40), (12, 1))
    np.testing.assert_array_equal(breed(matrix, mutation=0.0), matrix)


def test_half_mutation_makes_fair_coins() -> None:
    children = breed(np.ones((400, 100), dtype=np.uint8), mutation=0.5)[1:]
    ones = children.sum(axis=0)  # of 399, for each of 100 loci
    chi_square = ((ones - 199.5) ** 2 / (399 / 4)).sum()
    assert 61.9 < chi_square < 149.4  # 99.9 % interval at 100 degrees of freedom


def test_mutation_flips_with_its_probability() -> None:
    children = breed(np.zeros((400, 100), dtype=np.uint8), mutation=0.03)[1:]
    assert abs(children.mean() - 0.03) < 4 * np.sqrt(0.03 * 0.97 / children.size)


def test_generator_decides() -> None:
    matrix = population(12, 40)
    np.testing.assert_array_equal(breed(matrix, seed=3), breed(matrix, seed=3))
    assert (breed(matrix, seed=3) != breed(matrix, seed=4)).any()


FITNESS = np.array([3.0, -1.0, 0.5, 7.0, -1.0])


def test_roulette_by_hand() -> None:
    expected = np.array([4, 0, 1.5, 8, 0]) / 13.5
    np.testing.assert_allclose(selection_probabilities(FITNESS), expected)


@pytest.mark.parametrize(("scale", "shift"), [(2.0, 0.0), (0.01, 5.0), (1000.0, -300.0)])
def test_roulette_ignores_scale_and_shift(scale: float, shift: float) -> None:
    chances = selection_probabilities(scale * FITNESS + shift)
    np.testing.assert_allclose(chances, selection_probabilities(FITNESS), atol=1e-12)
    assert chances.sum() == pytest.approx(1)


@pytest.mark.parametrize("value", [0.0, -5.0, 1e9])
def test_roulette_is_uniform_for_equals(value: float) -> None:
    np.testing.assert_array_equal(selection_probabilities(np.full(4, value)), np.full(4, 0.25))


def parents_of_children(selection: str) -> np.ndarray:
    """Frequencies of the parents of 4000 unmixed children of five distinct individuals."""
    matrix = np.zeros((4001, 5), dtype=np.uint8)
    matrix[:5] = np.eye(5, dtype=np.uint8)
    fitness = np.full(4001, FITNESS.min())
    fitness[:5] = FITNESS
    children = breed(matrix, fitness, mutation=0.0, crossover=0.0, selection=selection)
    return children[1:].sum(axis=0)


def test_parents_are_drawn_by_the_roulette() -> None:
    seen = parents_of_children("roulette")
    chances = selection_probabilities(FITNESS)
    assert seen.sum() == 4000
    assert (seen[chances == 0] == 0).all()
    expected = 4000 * chances[chances > 0]
    chi_square = ((seen[chances > 0] - expected) ** 2 / expected).sum()
    assert chi_square < 13.82  # 99.9 % quantile at 2 degrees of freedom


def test_uniform_selection_ignores_fitness() -> None:
    seen = parents_of_children("uniform")
    assert seen.sum() < 30  # five of 4001 individuals carry a gene


@pytest.mark.parametrize(
    ("fitness", "elite", "margin", "best"),
    [
        ([1.0, 3.0, 2.0], 0, 0.0, 1),
        ([1.0, 3.0, 3.0], 0, 0.0, 1),  # the lowest index among equals
        ([1.0, 3.0, 3.0], 2, 0.0, 2),  # the elite among equals
        ([1.0, 3.0, 2.0], 2, 1.0, 2),  # not beaten by more than the margin
        ([1.0, 3.0, 2.0], 2, 0.9, 1),
        ([-5.0, -9.0, -6.0], 1, 0.0, 0),
    ],
)
def test_choice_of_the_elite(fitness: list, elite: int, margin: float, best: int) -> None:
    assert best_individual(np.array(fitness), elite, margin) == best


def test_margin_keeps_the_elites_genes() -> None:
    matrix = population(4, 40)
    fitness = np.array([1.0, 3.0, 0.0, 2.5])
    np.testing.assert_array_equal(breed(matrix, fitness, elite=3, elite_margin=1.0)[0], matrix[3])
    np.testing.assert_array_equal(breed(matrix, fitness, elite=3, elite_margin=0.4)[0], matrix[1])


def test_diversity_is_the_mean_distance_of_pairs() -> None:
    matrix = population(7, 30)
    pairs = [(matrix[i] != matrix[j]).mean() for i in range(7) for j in range(i)]
    assert diversity(matrix) == pytest.approx(np.mean(pairs))
    assert diversity(matrix[:1]) == 0
    assert diversity(np.array([[0, 1], [1, 0]])) == 1


@pytest.mark.parametrize("genes", [8, 16])
def test_finds_a_hidden_target(genes: int) -> None:
    """Fitness is the share of right genes; 40 generations are ample for 16 of them."""
    for seed in range(20):
        generator = np.random.default_rng(seed)
        target = generator.integers(0, 2, genes)
        options = GeneticOptions(population_size=16, crossover=0.8, mutation=0.03)
        matrix = initial_population(16, genes, generator)
        best: list[float] = []
        while not best or (best[-1] < 1 and len(best) < 41):
            fitness = (matrix == target).mean(axis=1)
            best.append(fitness.max())
            matrix, _ = next_generation(matrix, fitness, 0, options, generator)
        assert best[-1] == 1, f"seed {seed}"
        assert best == sorted(best), "the elite is never lost"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"population_size": 0}, "population_size=0 is too small"),
        ({"population_size": 6}, r"does not divide over n_envs=4.*population_size=8"),
        ({"mutation": 1.5}, r"mutation=1.5 is not a probability; allowed: 0 to 1"),
        ({"crossover": -0.1}, "crossover=-0.1 is not a probability"),
        ({"initial_open": 2.0}, "initial_open=2.0 is not a probability"),
        ({"selection": "best"}, "selection='best' is unknown; allowed: roulette, uniform"),
        ({"episodes": 0}, "episodes=0 is too small"),
        ({"max_gen_steps": 0}, "max_gen_steps=0 is too small"),
    ],
)
def test_wrong_options(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        GeneticOptions(**options).check(n_envs=4)


@pytest.mark.parametrize(("size", "n_envs"), [(16, 4), (4, 16), (8, 8), (1, 5), (7, 1)])
def test_allowed_sizes(size: int, n_envs: int) -> None:
    options = GeneticOptions(population_size=size)
    options.check(n_envs)  # raises if it is refused
    assert options.population_size == size
