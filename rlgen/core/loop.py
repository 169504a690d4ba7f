"""The step loop of jobs that are not SB3's: images now, distillation likewise. On accelerate."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list

from rlgen.core.device import resolve_precision
from rlgen.core.errors import NonFiniteLossError, UserError
from rlgen.core.interrupt import StopSignal

Terms = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Every:
    """An action at every so many steps, counted from the start of the run.

    Attributes:
        steps: How often; 0 for never.
        action: What is done, after the step.
    """

    steps: int
    action: Callable[[], object]


def run_steps(
    train_step: Callable[[int], None],
    first: int,
    total: int,
    stop: StopSignal,
    events: Sequence[Every] = (),
) -> int:
    """Takes training steps until there are ``total``, or until ``stop`` says so.

    Args:
        train_step: Takes step number k, counted from 0.
        first: Steps taken before, in a resumed run.
        total: Steps of the whole run.
        stop: Asks for an orderly stop.
        events: Done in order after the steps whose number they divide.

    Returns:
        Steps taken so far.
    """
    step = first
    while step < total and not stop.stopped:
        train_step(step)
        step += 1
        for event in events:
            if event.steps and step % event.steps == 0:
                event.action()
    return step


class Means:
    """Means of named scalars since they were last read, without waiting for the device."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: dict[str, int] = defaultdict(int)

    def __bool__(self) -> bool:
        return bool(self._sums)

    def add(self, terms: Terms) -> None:
        """Adds one value per name."""
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0) + value.detach().float()
            self._counts[name] += 1

    def read(self, step: int) -> dict[str, float]:
        """Returns the means and forgets them.

        Args:
            step: For the error.

        Raises:
            NonFiniteLossError: If one is NaN or infinite.
        """
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        self._sums.clear()
        self._counts.clear()
        for name, value in means.items():
            if not torch.isfinite(torch.tensor(value)):
                raise NonFiniteLossError(name, step)
        return means


def make_accelerator(device: str, precision: str) -> Accelerator:
    """Returns accelerate's view of this process: its device, its peers, its precision.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``; under ``accelerate launch`` each process
            has its own.
        precision: ``fp32``, ``bf16`` or ``auto``: bf16 where it is the faster of the two.

    Raises:
        UserError: If the device is not there or a name is unknown.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device not in ("auto", "cpu", *there):
        hint = "; choose a GPU by CUDA_VISIBLE_DEVICES" if device.startswith("cuda:") else ""
        raise UserError(f"device={device!r} is unknown; allowed: auto, cpu, cuda, mps{hint}")
    if not there.get(device, True):
        raise UserError(f"device={device!r} is not there; type device=cpu or device=auto")

    def fresh(mixed_precision: str) -> Accelerator:
        # One process may train several runs, one after another, on several devices and in several
        # precisions; accelerate keeps the first one's choices unless it is told to forget them.
        AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
        return Accelerator(cpu=device == "cpu", mixed_precision=mixed_precision)

    plain = fresh("no")
    bf16 = resolve_precision(precision, plain.device) is torch.bfloat16
    return fresh("bf16") if bf16 else plain


def for_all(accelerator: Accelerator, work: Callable[[], Any]) -> Any:
    """Calls a function in the first process and gives its result to all.

    Raises:
        UserError: In every process, if the function raised it; other exceptions rise in the first
            process and become a UserError in the others, so that none waits for ever.
    """
    outcome: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            outcome[0] = work()
        except UserError as error:
            outcome[1] = str(error)
        except Exception as error:
            broadcast_object_list([None, str(error)])
            raise
    result, mistake = broadcast_object_list(outcome)
    if mistake is not None:
        raise UserError(mistake)
    return result
