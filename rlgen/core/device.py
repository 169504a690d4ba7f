"""Where and how tensors are computed: device, precision, threads, memory allocator."""

import contextlib
import ctypes
import functools
import statistics
import sys
import time
from collections.abc import Iterator

import torch
from torch.nn import functional as F

from rlgen.core.errors import UserError

PRECISIONS = ("auto", "fp32", "bf16")


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """Returns the dtype in which convolutions and large products are computed.

    Args:
        precision: ``fp32``, ``bf16``, or ``auto``: bf16 where it is the faster of the two.
        device: Where the network lives.

    Raises:
        UserError: If the name is none of these.
    """
    if precision not in PRECISIONS:
        raise UserError(f"precision={precision!r} is unknown; allowed: {', '.join(PRECISIONS)}")
    if precision == "auto":
        if device.type == "cuda":
            precision = "bf16" if torch.cuda.is_bf16_supported() else "fp32"
        else:
            precision = "bf16" if device.type == "cpu" and bf16_pays() else "fp32"
    return torch.bfloat16 if precision == "bf16" else torch.float32


@functools.cache
def bf16_pays(margin: float = 1.2) -> bool:
    """Times one small convolution, forward and backward, in both precisions on this CPU.

    CPUs without bf16 instructions emulate it several times slower, so the answer is clear within
    a few tens of milliseconds.

    Args:
        margin: How many times faster bf16 must be to be worth its rounding.
    """
    x = torch.rand(16, 64, 21, 21).contiguous(memory_format=torch.channels_last)
    weight = torch.rand(32, 64, 2, 2, requires_grad=True)

    def once(dtype: torch.dtype) -> float:
        start = time.perf_counter()
        F.conv2d(x.to(dtype), weight.to(dtype)).sum().backward()
        return time.perf_counter() - start

    times: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    for _ in range(7):  # interleaved, so that a busy moment hits both
        for dtype, seen in times.items():
            seen.append(once(dtype))
    fp32, bf16 = (statistics.median(times[d][2:]) for d in (torch.float32, torch.bfloat16))
    return fp32 > margin * bf16


@contextlib.contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Sets the number of torch threads inside the block and restores it afterwards.

    Args:
        count: Threads, or None to leave the setting alone.
    """
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@functools.cache
def keep_large_blocks() -> None:
    """Asks glibc to reuse large freed blocks instead of returning them to the kernel.

    Activations of a convolution are tens of megabytes and are allocated at each update; fresh
    pages cost a fault and a clearing each. Measured at about 5 % of an Atari update. Does
    nothing on other C libraries.
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD
