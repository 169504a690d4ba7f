"""How a training command runs a session to its end, whatever happens to it."""

import errno
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

from rlgen.core.checkpoint import list_checkpoints, newest_readable, readable
from rlgen.core.cli import EXIT_INTERRUPTED, RunFailed, tell
from rlgen.core.compose import to_yaml
from rlgen.core.errors import NonFiniteLossError, UserError
from rlgen.core.interrupt import StopSignal
from rlgen.core.run import CARD, CONFIG, write_text

Tensors = dict[str, dict[str, torch.Tensor]]
Once = Callable[[Callable[[], Any]], Any]  # calls a function in one process, for all of them


class Session(Protocol):
    """A training run of any kind."""

    total_steps: int

    @property
    def step(self) -> int:
        """Steps taken so far."""

    @property
    def steps_option(self) -> str:
        """Name of the option that sets ``total_steps``."""

    def restore(self) -> None:
        """Puts the newest readable checkpoint back."""

    def learn(self, stop: StopSignal) -> None:
        """Trains until ``total_steps``, or until ``stop`` says so."""

    def save(self) -> bool:
        """Saves a checkpoint; returns whether it succeeded."""

    def draw(self) -> None:
        """Draws the pictures of the state reached."""

    def finish(self, command: str, seconds: float) -> None:
        """Makes the final artefacts and the card."""

    def last_checkpoint(self) -> str:
        """Returns the path of the newest checkpoint, for messages."""


def newest_checkpoint(folder: Path) -> str:
    """Returns the path of a run's newest readable checkpoint, for messages."""
    newest = newest_readable(folder / "checkpoints")
    return "none" if newest is None else str(newest)


def restore_newest(folder: Path, put: Callable[[Tensors, dict[str, Any]], None]) -> bool:
    """Puts a run's newest readable checkpoint back; a damaged one is told and skipped.

    Args:
        folder: The run folder.
        put: Takes the tensors by file and the plain values.

    Returns:
        False if the run has none yet and starts from step 0.

    Raises:
        UserError: If checkpoints exist and none can be read.
    """
    saved = list_checkpoints(folder / "checkpoints")
    for tensors, state in readable(saved, tell):
        put(tensors, state)
        return True
    if saved:
        raise UserError(
            f"none of the {len(saved)} checkpoints in {folder}/checkpoints can be read; "
            "start anew without resume="
        )
    tell("the run was stopped before its first checkpoint; it starts from step 0")
    return False


def run_session(
    session: Session,
    folder: Path,
    config: dict[str, Any],
    command: str,
    *,
    resumed: bool,
    once: Once = lambda work: work(),
) -> int:
    """Trains a session and reports how it ended.

    Args:
        session: The run.
        folder: Its folder.
        config: Its configuration, which is written anew on a resume.
        command: The command as typed, for the card.
        resumed: Whether the folder holds an earlier part of the run.
        once: Does something in the first of the run's processes.

    Returns:
        The exit code.

    Raises:
        RunFailed: If a loss is not finite or the disk is full.
        UserError: If no checkpoint can be read.
    """
    if resumed:
        session.restore()
        if session.step >= session.total_steps and (folder / CARD).exists():
            further = f"{session.steps_option}={2 * session.step} to train it further"
            tell(
                f"{folder} has its {session.step:,} steps already; type "
                f"{getattr(session, 'further', further)}"
            )
            return 0
        once(lambda: write_text(folder / CONFIG, to_yaml(config)))  # changes count from here on
        # A card of fewer steps would make the run look finished if this part of it is killed.
        once(lambda: (folder / CARD).unlink(missing_ok=True))
    how = f"python -m rlgen.train resume={shlex.quote(str(folder))}"
    tell(f"run folder: {folder}")
    start = time.monotonic()
    try:
        with StopSignal() as stop:
            if session.step < session.total_steps:  # else it was killed before it had its card
                session.learn(stop)
            if stop.stopped and session.step < session.total_steps:
                saved = session.save()
                session.draw()
                where = f"saved at step {session.step:,}" if saved else "not saved"
                tell(f"interrupted, {where}; go on with: {how}")
                return EXIT_INTERRUPTED
        session.finish(command, time.monotonic() - start)
    except NonFiniteLossError as error:
        raise RunFailed(
            f"{error}; the last good checkpoint is {session.last_checkpoint()}"
        ) from None
    except KeyboardInterrupt:
        tell(f"interrupted; go on from {session.last_checkpoint()} with: {how}")
        return EXIT_INTERRUPTED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RunFailed(
            f"the disk is full ({error}); the last complete checkpoint is "
            f"{session.last_checkpoint()}; make room and type: {how}"
        ) from None
    return 0
