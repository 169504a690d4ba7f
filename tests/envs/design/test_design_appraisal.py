"""What is known of designs: measured once, and the same as measured anew."""

import numpy as np
import pytest

from rlgen.envs.design.appraisal import Cache
from rlgen.envs.design.measure.metrics import evaluate
from rlgen.envs.design.shape.solids import EMPTY
from rlgen.envs.design.task.experts import expert
from rlgen.envs.design.task.presets import TASK_NAMES, make_task


@pytest.mark.parametrize("name", TASK_NAMES[:-1])
@pytest.mark.parametrize("known", [False, True])
def test_final_values_are_those_measured_anew(name: str, known: bool):
    task, solid, cache = make_task(name), expert(name).solid, Cache()
    if known:
        coarse = cache.metrics(solid, task, precise=False)
        assert np.array_equal(coarse, evaluate(solid.mesh, task.metrics, task.conditions))
    fine = cache.metrics(solid, task, precise=True)
    assert np.array_equal(fine, evaluate(solid.mesh, task.metrics, task.conditions, precise=True))


def test_a_design_is_measured_once():
    task, solid, cache = make_task("Mast"), expert("Mast").solid, Cache()
    first = cache.metrics(solid, task, precise=False)
    assert cache.metrics(expert("Mast").solid, task, precise=False) is first
    assert (cache.hits, cache.misses) == (1, 1)
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1.0


def test_the_one_unused_for_longest_goes_first():
    cache, solids = Cache(size=2), [expert(name).solid for name in TASK_NAMES[:3]]
    marks = [cache.of(solid) for solid in solids[:2]]
    assert cache.of(solids[0]) is marks[0]
    cache.of(solids[2])
    assert len(cache) == 2
    assert cache.of(solids[0]) is marks[0]
    assert cache.of(solids[1]) is not marks[1]


def test_nothing_is_worth_nothing():
    assert not Cache().metrics(EMPTY, make_task("Vessel"), precise=True).any()
