"""What does a step of distillation cost beyond the networks themselves?

    python benchmarks/distill_overhead.py
    python benchmarks/distill_overhead.py teacher=resnet56 student=resnet20 rounds=10
    python benchmarks/distill_overhead.py peer=true   # with neural-compressor 2.6, see below

One step is the forward of all networks, the loss, the backward, and SGD. Compared are:

- ``floor``: the teacher's forward, the student's forward, backward and step with cross-entropy,
  written out; for online methods the two peers' instead, for ONE and FFL two branches' from
  ``layer3`` on a common stem. No loss between networks, no connectors.
- ``by hand``: the same loss module without the library: the networks' forward written out so that
  it returns the stages. What a loss costs beyond this is the taps' and the distiller's.
- each loss through ``Distiller``, and ``mse``, the mean squared error of the three stages.
- ``peer=true``: Intel's neural-compressor, a public library that taps by forward hooks, with its
  documented loop: its layer-wise MSE beside our ``mse`` (the same loss), its KD beside our ``kd``.
  It is the one found that imports without torchvision. Its last release with distillation is 2.6;
  install it with ``--no-deps``, since it pins numpy below 2, then its other requirements.

Methods take turns in every round; a ratio is that of one round, the figure its median over rounds
with a 95 % bootstrap interval. On the CPU the time is the process's CPU time on one thread, which
other programs disturb less; on a GPU it is wall-clock time after a synchronisation. Memory is that
of the teacher's tapped maps, which live until the backward pass.
"""

import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from distill_peers import neural_compressor_steps
from torch import Tensor, nn
from torch.nn import functional as F

from rlgen.core.cli import run_command
from rlgen.core.compose import check_options
from rlgen.core.errors import UserError, closest
from rlgen.core.loop import make_accelerator
from rlgen.core.stats import bootstrap_interval
from rlgen.distill import Distiller, branch
from rlgen.distill.base import DistillLoss, Features
from rlgen.distill.losses import LOSSES, USUAL_WEIGHTS
from rlgen.distill.losses.afd import AFD
from rlgen.distill.updates import make_updates
from rlgen.nets.classifiers import make_classifier

Step = Callable[[], None]
Times = dict[str, npt.NDArray[np.float64]]
STAGES = ("layer1", "layer2", "layer3")
BRANCHED = ("one", "ffl")
SMALLEST_LR = 1e-4  # steps are real; the weights hardly move


@dataclass
class OverheadOptions:
    """Options of the measurement."""

    teacher: str = "resnet20"
    student: str = "resnet8"
    batch_size: int = 64
    size: int = 32
    classes: int = 10
    only: list[str] = field(default_factory=list)  # losses; empty: all
    warmup: int = 3
    rounds: int = 20
    threads: int = 1
    device: str = "cpu"
    peer: bool = False


class StagesMSE(DistillLoss):
    """The mean squared error of equal maps, summed over taps; what the peer's MSE is."""

    name: ClassVar[str] = "mse"

    def forward(
        self, student: Features, teachers: Sequence[Features], labels: Tensor | None = None
    ) -> Tensor:
        """Returns the sum over taps."""
        pairs = zip(student.taps, teachers[0].taps, strict=True)
        return torch.stack([F.mse_loss(s, t) for s, t in pairs]).sum()


LOSSES.register(StagesMSE.name)(StagesMSE)


class Bench:
    """Networks, a batch, and the steps that are timed.

    Args:
        options: Of the measurement.
    """

    def __init__(self, options: OverheadOptions) -> None:
        self.options = options
        torch.manual_seed(0)
        shape = (options.batch_size, 3, options.size, options.size)
        self.images = self._placed(torch.randn(shape))
        self.labels = torch.randint(0, options.classes, shape[:1]).to(options.device)

    def _placed(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.options.device, memory_format=torch.channels_last)

    def network(self, name: str) -> nn.Module:
        """Builds a network on the device."""
        network: Any = make_classifier(name, self.options.classes)
        network.to(device=self.options.device, memory_format=torch.channels_last)
        assert isinstance(network, nn.Module)
        return network

    def pair(self) -> tuple[nn.Module, nn.Module]:
        """Builds a student in training and a frozen teacher in evaluation."""
        student, teacher = self.network(self.options.student), self.network(self.options.teacher)
        return student.train(), teacher.eval().requires_grad_(False)

    def floor(self, count: int = 1) -> Step:
        """Returns the step without a loss between networks; two peers where ``count`` is 2."""
        networks = [self.network(self.options.student).train() for _ in range(count)]
        teacher = None if count > 1 else self.pair()[1]
        optimizer = sgd([p for network in networks for p in network.parameters()])

        def step() -> None:
            if teacher is not None:
                with torch.no_grad():
                    teacher(self.images)
            loss = sum(F.cross_entropy(n(self.images), self.labels) for n in networks)
            assert isinstance(loss, Tensor)
            descend(optimizer, loss)

        return step

    def floor_of_branches(self) -> Step:
        """Returns the step of two branches on one stem."""
        branches: list[Any] = branch(lambda: self.network(self.options.student), "layer3", 2)
        stem = branches[0]
        optimizer = sgd(list(dict.fromkeys(p for b in branches for p in b.parameters())))

        def step() -> None:
            middle = stem.layer2(stem.layer1(stem.relu1(stem.bn1(stem.conv1(self.images)))))
            logits = [b.classifier(b.layer3(middle).mean(dim=(2, 3))) for b in branches]
            losses = [F.cross_entropy(values, self.labels) for values in logits]
            descend(optimizer, torch.stack(losses).sum())

        return step

    def plain(self) -> Step:
        """Returns the step of cross-entropy alone."""
        student = self.network(self.options.student).train()
        optimizer = sgd(student.parameters())
        return lambda: descend(optimizer, F.cross_entropy(student(self.images), self.labels))

    def distiller(self, name: str) -> Distiller:
        """Builds a distiller of one loss with its usual weight."""
        losses = {name: USUAL_WEIGHTS.get(name, 1.0)}
        example = (3, self.options.size, self.options.size)
        if not LOSSES[name].online:
            student, teacher = self.pair()
            taps = STAGES if name == StagesMSE.name else None
            return Distiller(student, teacher, losses, taps=taps, example=example)
        if name in BRANCHED:
            peers = branch(lambda: self.network(self.options.student), at="layer3", count=2)
        else:
            peers = [self.network(self.options.student) for _ in range(2)]
        return Distiller(peers=peers, losses=losses, example=example)

    def ours(self, name: str) -> tuple[Step, float]:
        """Returns the step of one loss through the distiller, and the taps' memory in MiB."""
        distiller = self.distiller(name)
        if name in ("ft", "ofd"):
            distiller.prepare([(self.images, self.labels)])
        if isinstance(distiller.losses[name], AFD):
            return self._adversarial(distiller), 0.0
        optimizer = sgd(distiller.parameters())
        batch = (self.images, self.labels)
        seen = distiller.observe(batch)
        held = [t for snaps in seen.teachers.values() for s in snaps for t in s.tensors]
        memory = sum(t.numel() * t.element_size() for t in held) / 2**20
        return lambda: descend(optimizer, distiller(batch)[0]), memory

    def _adversarial(self, distiller: Distiller) -> Step:
        accelerator = make_accelerator(self.options.device, "fp32")
        updates = make_updates(distiller, accelerator, lr=SMALLEST_LR, momentum=0.9)
        return lambda: void(updates.step((self.images, self.labels)))

    def by_hand(self, name: str) -> Step:
        """Returns the step of one loss with the networks' forward written out."""
        distiller = self.distiller(name)  # builds the loss; its forward is not used
        if name == "ft":
            distiller.prepare([(self.images, self.labels)])
        loss, weight = distiller.losses[name], distiller.weights[name]
        student, teacher = distiller.networks[0], distiller.teachers[0]
        optimizer = sgd(distiller.parameters())
        last = loss.tap_place == "last"

        def step() -> None:
            with torch.no_grad():
                fixed = in_stages(teacher, self.images, last)
            seen = in_stages(student, self.images, last)
            assert seen.logits is not None
            task = F.cross_entropy(seen.logits, self.labels)
            descend(optimizer, task + weight * loss(seen, [fixed], self.labels))

        return step


def in_stages(network: Any, images: Tensor, last: bool) -> Features:
    """A CIFAR ResNet's forward, edited to return its stages."""
    first = network.layer1(network.relu1(network.bn1(network.conv1(images))))
    second = network.layer2(first)
    third = network.layer3(second)
    logits = network.classifier(third.mean(dim=(2, 3)))
    return Features(logits, (third,) if last else (first, second, third))


def sgd(parameters: Any) -> torch.optim.Optimizer:
    """Returns the optimiser of all steps."""
    return torch.optim.SGD(parameters, SMALLEST_LR, momentum=0.9, nesterov=True, fused=True)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Takes one step."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def void(_: object) -> None:
    """Forgets a value."""


def has_stages_alone(name: str) -> bool:
    """Tells whether a loss reads what the edited forward returns."""
    loss = LOSSES[name]
    plain = loss.teacher_bn == "running" and loss.tap_place in ("stages", "last")
    return plain and not loss.online


def now(device: str) -> float:
    """Returns the time in seconds: CPU time of this process, or wall-clock time of a GPU."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def measure(steps: dict[str, Step], options: OverheadOptions) -> Times:
    """Times all steps in turns; returns milliseconds by name, one per round."""
    for step in steps.values():
        for _ in range(options.warmup):
            step()
    taken: dict[str, list[float]] = {name: [] for name in steps}
    order = list(steps)
    for number in range(options.rounds):
        for name in order if number % 2 else order[::-1]:
            start = now(options.device)
            steps[name]()
            taken[name].append(1e3 * (now(options.device) - start))
    return {name: np.array(values) for name, values in taken.items()}


def ratio(times: Times, name: str, base: str) -> str:
    """Formats the median of a round's ratio with its interval; empty where there is no base."""
    if name not in times or base not in times:
        return ""
    values = times[name] / times[base]
    low, high = bootstrap_interval(values, np.median)
    return f"{np.median(values):.2f} [{low:.2f}, {high:.2f}]"


def report(times: Times, memory: dict[str, float]) -> list[str]:
    """Returns the lines of a Markdown table."""
    lines = [
        "| step | ms | over cross-entropy | over the floor | over by hand | over the peer | taps |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, values in times.items():
        cells = [f"`{name}`" if name in LOSSES else name, f"{np.median(values):.1f}"]
        cells += [ratio(times, name, "cross-entropy"), ratio(times, name, floor_of(name))]
        cells += [ratio(times, name, f"{name} by hand"), ratio(times, name, f"{name} of the peer")]
        cells.append(f"{memory[name]:.2f} MiB" if memory.get(name) else "")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def floor_of(name: str) -> str:
    """Returns which floor a step stands on; "" for those that need none."""
    if name == "cross-entropy" or "floor" in name:
        return ""
    if name in BRANCHED:
        return "floor of branches"
    return "floor of peers" if name in LOSSES and LOSSES[name].online else "floor"


def build(options: OverheadOptions) -> tuple[dict[str, Step], dict[str, float]]:
    """Returns all steps by name and the taps' memory in MiB."""
    bench = Bench(options)
    known = [*sorted(LOSSES), StagesMSE.name]
    for name in options.only:
        if name not in LOSSES:
            raise UserError(f"only: unknown loss {name!r}; {closest(name, known)}")
    steps = {
        "cross-entropy": bench.plain(),
        "floor": bench.floor(),
        "floor of peers": bench.floor(2),
        "floor of branches": bench.floor_of_branches(),
    }
    memory: dict[str, float] = {}
    for name in options.only or sorted(LOSSES):
        steps[name], memory[name] = bench.ours(name)
        if has_stages_alone(name):
            steps[f"{name} by hand"] = bench.by_hand(name)
    if options.peer:
        steps |= neural_compressor_steps(
            bench.pair, bench.images, bench.labels, sgd, STAGES, USUAL_WEIGHTS["kd"]
        )
    return steps, memory


def processor() -> str:
    """Returns the name of the CPU."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model n")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def main(arguments: list[str]) -> int:
    """Measures and prints the table."""
    options = check_options(OverheadOptions, arguments)
    torch.set_num_threads(options.threads)
    steps, memory = build(options)
    where = processor() if options.device == "cpu" else torch.cuda.get_device_name()
    print(
        f"{options.teacher} to {options.student}, batch {options.batch_size} of "
        f"3x{options.size}x{options.size}, {options.classes} classes, float32, channels last; "
        f"{where}, {options.threads} thread, torch {torch.__version__}, {options.rounds} rounds\n"
    )
    print("\n".join(report(measure(steps, options), memory)))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, lambda: __doc__, None))
