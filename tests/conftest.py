"""What all tests share: one torch thread, empty learning curves, an empty working folder."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from rlgen.core import curves
from rlgen.core.figures import save_figure


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _leave_empty(figure: Any, path: Path) -> Path:
    if path.name != "learning_curve.png":
        return save_figure(figure, path)
    path.touch()
    return path


@pytest.fixture(scope="session", autouse=True)
def _empty_learning_curves() -> Iterator[None]:
    """Runs leave empty learning curves: to draw one takes longer than a short training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "save_figure", _leave_empty)
        yield


@pytest.fixture(scope="session")
def drawn_curves() -> Callable[[], AbstractContextManager[None]]:
    """Makes contexts in which learning curves are drawn all the same."""

    @contextmanager
    def drawn() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(curves, "save_figure", save_figure)
            yield

    return drawn


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
