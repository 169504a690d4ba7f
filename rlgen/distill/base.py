"""What taps, losses and the distiller say to each other.

A :class:`DistillLoss` sees networks only through :class:`Layout` (shapes, once) and
:class:`Features` (tensors, each step): it knows no module path and no model. What it trains itself
(connectors, discriminators, gates) are its own parameters and stay away from the networks.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

TapPlace = Literal["stages", "preactivation", "last"]
TeacherBN = Literal["running", "batch"]


@dataclass(frozen=True)
class Features:
    """What one network gave for a batch.

    Attributes:
        logits: The network's output: (B, classes) of a classifier, the pictures (B, C, H, W) of a
            super-resolution network; None where it gives no tensor.
        taps: Features in the order of the taps: (B, C, H, W), (B, T, C) or (B, C).
    """

    logits: Tensor | None
    taps: tuple[Tensor, ...] = ()

    def detach(self) -> "Features":
        """Returns the same features without their history."""
        logits = None if self.logits is None else self.logits.detach()
        return Features(logits, tuple(tap.detach() for tap in self.taps))


@dataclass(frozen=True)
class Layout:
    """What a dry run told about one network.

    Attributes:
        classes: Size of the output's class axis; None where the output is not (B, classes).
        shapes: Shapes of the taps without the batch: (C, H, W), (T, C) or (C,).
    """

    classes: int | None
    shapes: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(cls, features: Features) -> "Layout":
        """Reads the layout off the features of one batch."""
        logits = features.logits
        classes = logits.shape[1] if logits is not None and logits.ndim == 2 else None
        return cls(classes, tuple(tuple(tap.shape[1:]) for tap in features.taps))


class DistillLoss(nn.Module):
    """One term of a distillation objective.

    A subclass takes keyword-only options after the layouts, checks them (UserError) and builds
    its connectors from the layouts. It overrides :meth:`forward` where it compares a student with
    fixed teachers, :meth:`forward_peers` where it is online; the rest only where needed.

    Args:
        student: Layout of the student, or of the first peer.
        teachers: Layouts of the teachers, or of the other peers.

    Attributes:
        name: Its name in the registry.
        online: True where all networks are peers and each is trained.
        needs_taps: True where it reads features and not only the output.
        needs_labels: True where it reads the labels.
        tap_place: Where the paper taps a network that names such places itself
            (``rlgen.nets.classifiers``); a user's taps come before it.
        teacher_bn: ``"batch"`` where the paper's teacher normalises by the statistics of the
            batch; the distiller then runs it so, without a change to its running statistics.
            An option of the same name may set it on the instance.
        group_options: What the paper gives the optimiser of :meth:`own_parameters`.
    """

    name: ClassVar[str]
    online: ClassVar[bool] = False
    needs_taps: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = False
    tap_place: ClassVar[TapPlace] = "stages"
    group_options: ClassVar[Mapping[str, Any]] = {}
    teacher_bn: TeacherBN = "running"

    def __init__(self, student: Layout, teachers: Sequence[Layout]) -> None:
        super().__init__()
        self.student_layout = student
        self.teacher_layouts = tuple(teachers)

    def forward(
        self, student: Features, teachers: Sequence[Features], labels: Tensor | None = None
    ) -> Tensor:
        """Returns the loss of one student, a scalar: the mean over the batch.

        Args:
            student: Of the network that is trained.
            teachers: Of the fixed networks, detached by the caller; of the other peers where the
                loss is online.
            labels: Classes (B,), or target pictures.
        """
        raise NotImplementedError(f"{type(self).__name__} is for peers; call forward_peers")

    def forward_peers(self, peers: Sequence[Features], labels: Tensor | None = None) -> Tensor:
        """Returns the sum of the losses of all peers, with the paper's detachments.

        Args:
            peers: Of all networks, with their history, in the order of the layouts.
            labels: Classes (B,).
        """
        raise NotImplementedError(f"{type(self).__name__} compares a student with fixed teachers")

    def own_parameters(self) -> Iterator[nn.Parameter]:
        """Yields the parameters that want an optimiser (or a group) of their own; none here."""
        return iter(())

    def set_epoch(self, epoch: float) -> None:
        """Tells how far training is, in epochs from 0, where a weight is ramped up."""

    def read_norms(self, norms: Sequence[Sequence[nn.Module | None]]) -> None:
        """Takes the normalisation layer behind each tap, once, after construction.

        Args:
            norms: For each teacher and each of its taps the last batch normalisation that ran
                before the tap and gave a tensor of its shape; None where there is none. OFD
                computes its margins from them.
        """

    def prepare(self, batches: Iterable[Sequence[Features]]) -> None:
        """Learns from the teachers alone before training, where the paper does so.

        OFD's margins of models without batch normalisation and FT's paraphraser need it.

        Args:
            batches: For each batch the features of all teachers, detached; may be iterated
                several times.
        """
