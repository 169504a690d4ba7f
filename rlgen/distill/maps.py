"""Features of any network as maps (batch, channels, height, width), and the checks before a loss.

Convolutional nets give (B, C, H, W), transformers (B, T, C), vectors are (B, C). The losses see all
three as maps: T tokens are a map of T rows and one column, a vector is one of a single pixel.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from rlgen.core.errors import UserError
from rlgen.distill.base import Features, Layout

EPS = 1e-12  # norms below it count as zero


def map_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """Returns (channels, height, width) of features as a map.

    Args:
        shape: Shape of a tap without the batch: (C,), (T, C) or (C, H, W).

    Raises:
        UserError: If the shape is of another kind.
    """
    match tuple(shape):
        case (channels,):
            return channels, 1, 1
        case (tokens, channels):
            return channels, tokens, 1
        case (channels, height, width):
            return channels, height, width
    shown = ", ".join(["batch", *map(str, shape)])
    raise UserError(
        f"a tap gives features of shape ({shown}); allowed: (batch, channels), (batch, tokens, "
        "channels), (batch, channels, height, width); tap another layer"
    )


def as_map(features: torch.Tensor) -> torch.Tensor:
    """Returns features (B, C), (B, T, C) or (B, C, H, W) as a map (B, C, H, W)."""
    if features.dim() == 2:
        return features[:, :, None, None]
    if features.dim() == 3:
        return features.transpose(1, 2).unsqueeze(-1)
    return features


def widen(features: torch.Tensor) -> torch.Tensor:
    """Returns half-precision features in float32, in which losses are summed; others as given."""
    return features.float() if features.dtype in (torch.float16, torch.bfloat16) else features


def tap_map(features: Features, tap: int) -> torch.Tensor:
    """Returns one tap of a network as a map (B, C, H, W), in float32 or better.

    Args:
        features: What the network gave.
        tap: Index of the tap; negative counts from the deepest.
    """
    return widen(as_map(features.taps[tap]))


def pool_to(features: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Returns a map averaged over cells to another size; itself where it has the size.

    Args:
        features: (B, C, H, W).
        size: Height and width wanted.
    """
    if features.shape[-2:] == size:
        return features
    return F.adaptive_avg_pool2d(features, size)


def unit(features: torch.Tensor, dim: int = 1) -> torch.Tensor:
    """Returns features divided by their L2 norm along one dimension, in float32 or better.

    Where the norm is zero (below 1e-12) the direction is undefined: the result and its gradient are
    0 there, while a clamped division would multiply gradients by 1e12.

    Args:
        features: Any shape.
        dim: The dimension to normalise.
    """
    features = widen(features)
    norm = torch.linalg.vector_norm(features, dim=dim, keepdim=True)
    zero = norm < EPS
    return (features / norm.masked_fill(zero, 1.0)).masked_fill(zero, 0.0)


def common_size(
    name: str, student: tuple[int, int, int], teacher: tuple[int, int, int]
) -> tuple[int, int]:
    """Returns the height and width at which two maps are compared: the smaller of each.

    The papers compare maps of equal size; averaging the larger over cells is ours, hence a warning
    where the sizes differ.

    Args:
        name: The loss, for the warning.
        student: Shape (C, H, W) of the student's map.
        teacher: Shape of the teacher's.
    """
    size = (min(student[1], teacher[1]), min(student[2], teacher[2]))
    if student[1:] != teacher[1:]:
        warnings.warn(
            f"{name}: the student's map is {student[1]}x{student[2]}, the teacher's "
            f"{teacher[1]}x{teacher[2]}; both are averaged to {size[0]}x{size[1]}",
            stacklevel=3,
        )
    return size


@dataclass(frozen=True)
class TapPair:
    """One tap of the student and the tap of a teacher it is compared with.

    Attributes:
        teacher: Index of the teacher.
        taps: Indices of the student's and of the teacher's tap.
        shapes: Shapes (C, H, W) of the two as maps.
        size: Height and width at which they are compared; None: each at its own.
        depth: 0 for the deepest pair of the teacher, 1 for the one before, and so on.
    """

    teacher: int
    taps: tuple[int, int]
    shapes: tuple[tuple[int, int, int], tuple[int, int, int]]
    size: tuple[int, int] | None
    depth: int

    def maps(
        self, student: Features, teachers: Sequence[Features]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the student's and the teacher's map, the latter detached, at the common size.

        Args:
            student: What the student gave.
            teachers: What each teacher gave.
        """
        ours = tap_map(student, self.taps[0])
        theirs = tap_map(teachers[self.teacher], self.taps[1]).detach()
        if self.size is None:
            return ours, theirs
        return pool_to(ours, self.size), pool_to(theirs, self.size)


def pair_taps(
    name: str,
    student: Layout,
    teachers: Sequence[Layout],
    *,
    from_deepest: bool = False,
    align: bool = True,
) -> list[TapPair]:
    """Returns which taps are compared: teacher after teacher, shallow to deep.

    Args:
        name: The loss, for errors and warnings.
        student: Layout of the student.
        teachers: Layouts of the teachers.
        from_deepest: Where the counts differ, pair the deepest with the deepest and leave the
            shallowest of the longer list out.
        align: Compare maps of unequal size at the smaller, with a warning; False: at their own.

    Raises:
        UserError: If a network has no tap, or the counts differ without ``from_deepest``.
    """
    pairs = []
    for index, teacher in enumerate(teachers):
        ours, theirs = len(student.shapes), len(teacher.shapes)
        if not ours or not theirs:
            who = "teacher" if ours else "student"
            raise UserError(f"{name} compares features, the {who} has no tap; name layers in taps=")
        if ours != theirs and not from_deepest:
            raise UserError(
                f"{name} compares taps one to one, the student has {ours} and the teacher "
                f"{theirs}; name as many layers of each in taps="
            )
        for depth in reversed(range(min(ours, theirs))):
            taps = (ours - 1 - depth, theirs - 1 - depth)
            shapes = (map_shape(student.shapes[taps[0]]), map_shape(teacher.shapes[taps[1]]))
            size = common_size(name, *shapes) if align else None
            pairs.append(TapPair(index, taps, shapes, size, depth))
    return pairs


def tap_shape(name: str, layout: Layout, tap: int) -> tuple[int, int, int]:
    """Returns (channels, height, width) of one tap of a network.

    Args:
        name: The loss, for the error.
        layout: Layout of the network.
        tap: Index of the tap; negative counts from the deepest.

    Raises:
        UserError: If the network has no such tap.
    """
    count = len(layout.shapes)
    if not -count <= tap < count:
        raise UserError(
            f"{name} compares tap {tap} and a network has {count}; name its layers in taps= or "
            "choose another with the option tap"
        )
    return map_shape(layout.shapes[tap])


def same_classes(name: str, layouts: Sequence[Layout]) -> int:
    """Returns the number of classes, which all networks must share.

    Args:
        name: The loss, for the error.
        layouts: Layouts of the student and the teachers, or of the peers.

    Raises:
        UserError: If a network is no classifier, or the numbers differ.
    """
    counts = [layout.classes for layout in layouts]
    first = counts[0]
    if first is None or any(count != first for count in counts):
        shown = ", ".join("none" if count is None else str(count) for count in counts)
        raise UserError(
            f"{name} compares logits of the same classes, the networks have {shown}; take networks "
            "with equal outputs or a loss on features"
        )
    return first


def logits_of(name: str, features: Features) -> torch.Tensor:
    """Returns the logits of a network.

    Args:
        name: The loss, for the error.
        features: What the network gave.

    Raises:
        UserError: If it gave none.
    """
    if features.logits is None:
        raise UserError(f"{name} needs logits and a network gave none; return them or drop {name}")
    return features.logits


def labels_of(name: str, labels: torch.Tensor | None) -> torch.Tensor:
    """Returns the labels.

    Args:
        name: The loss, for the error.
        labels: What the batch held.

    Raises:
        UserError: If there are none.
    """
    if labels is None:
        raise UserError(f"{name} needs labels and the batch has none; give batch=(inputs, labels)")
    return labels


def require_above(name: str, option: str, value: float, low: float, strict: bool = True) -> float:
    """Returns an option's value after checking its lower limit.

    Args:
        name: The loss.
        option: Name of the option.
        value: What was given.
        low: The limit.
        strict: The limit itself is not allowed.

    Raises:
        UserError: If the value is below the limit or not a number.
    """
    number = isinstance(value, int | float)
    if not number or not (value > low or (value == low and not strict)):
        sign = "above" if strict else "at least"
        raise UserError(f"{name}: {option}={value!r} is not allowed; give a number {sign} {low:g}")
    return value


def require_choice(name: str, option: str, value: str, allowed: Sequence[str]) -> str:
    """Returns an option's value after checking that it is one of a few words.

    Args:
        name: The loss.
        option: Name of the option.
        value: What was given.
        allowed: The words.

    Raises:
        UserError: If it is another.
    """
    if value not in allowed:
        raise UserError(f"{name}: {option}={value!r} is not allowed; give {' or '.join(allowed)}")
    return value
