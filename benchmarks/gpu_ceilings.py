"""What a device can do at most, measured: products and memory; and how its time is taken.

Work on a GPU is asynchronous, so the clock is read when all of it is done.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Of one device.

    Attributes:
        flops: Floating-point operations a second, in a large matrix product.
        bandwidth: Bytes a second, read and written, in a large copy.
    """

    flops: float
    bandwidth: float


@dataclass(frozen=True, slots=True)
class CeilingSizes:
    """How large the measured work is.

    Attributes:
        side: Of the matrices.
        copied_bytes: Of the copy; far more than any cache holds.
    """

    side: int
    copied_bytes: int


CARD = CeilingSizes(8192, 2 << 30)
TINY = CeilingSizes(128, 1 << 20)


def wait(device: torch.device) -> None:
    """Wait until the device has nothing to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(run: Callable[[], object], device: torch.device, repeat: int) -> float:
    """Median time of a piece of work, after two times that warm up."""
    for _ in range(2):
        run()
    times = []
    for _ in range(repeat):
        wait(device)
        began = time.perf_counter()
        run()
        wait(device)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def measure_ceilings(
    device: torch.device, dtype: torch.dtype, sizes: CeilingSizes, repeat: int
) -> Ceilings:
    """Time a matrix product of random numbers, and a copy."""
    left, right = torch.randn(2, sizes.side, sizes.side, device=device).to(dtype)
    product = seconds_of(lambda: left @ right, device, repeat)
    source = torch.ones(sizes.copied_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = seconds_of(lambda: target.copy_(source), device, repeat)
    return Ceilings(2 * sizes.side**3 / product, 2 * sizes.copied_bytes / copy)
