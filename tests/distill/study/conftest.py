"""What the study's tests share: pictures in an empty folder."""

import pytest
from study_runs import write_pictures


@pytest.fixture
def tiny(cwd):
    """An empty current folder with ``tiny.npz``."""
    write_pictures(cwd)
    return cwd
