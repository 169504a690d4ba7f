"""Random numbers from one generator or from one per row."""

import pytest
import torch

from rlgen.core.errors import UserError
from rlgen.generative.latent_density.density.draws import normal, part, uniform

LIKE = torch.zeros(1, dtype=torch.float64)


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize("draw", [normal, uniform])
def test_a_row_is_its_generators_alone(draw):
    together = draw((3, 5), seeded(1, 2, 3), LIKE)
    assert torch.equal(together[1:2], draw((1, 5), seeded(2), LIKE))
    assert together.dtype == torch.float64
    assert not torch.equal(together[0], together[2])


def test_moments():
    (one,) = seeded(0)
    assert normal((50_000,), one, LIKE).std().item() == pytest.approx(1, abs=0.02)
    flat = uniform((50_000,), one, LIKE)
    assert flat.mean().item() == pytest.approx(0.5, abs=0.01)
    assert 0 <= flat.min() < flat.max() < 1


def test_part_keeps_one_and_cuts_many():
    several = seeded(0, 1, 2)
    assert part(several, 1, 3) == several[1:]
    assert part(several[0], 1, 3) is several[0]


def test_another_number_of_generators():
    with pytest.raises(UserError, match="2 generators for 3 rows; give one for all or one"):
        normal((3, 2), seeded(0, 1), LIKE)
