"""Work on a GPU that is captured once and replayed: one launch in place of many hundreds.

How to capture is handed to whoever has work to repeat, so that the rest of it runs anywhere: tests
on a CPU hand in one that does the work again each time, which is what a replay is.
`CudaCapture` **has never run on a card**.
"""

from collections.abc import Callable
from typing import Protocol

import torch

WARM_UP_RUNS = 2

Step = Callable[[], torch.Tensor]


class StepCapture(Protocol):
    """Makes a step repeatable."""

    def __call__(self, step: Step) -> Step:
        """Capture a step.

        Args:
            step: Reads its inputs where they will be at every replay, and returns its outcome.

        Returns:
            Runs it again; the outcome is valid until the next.

        Raises:
            RuntimeError: It cannot be captured.
        """


class CudaCapture:
    """Captures CUDA graphs that share one pool of memory; the largest should come first."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, step: Step) -> Step:
        """See `StepCapture`; runs the step a few times first, so that every kernel is compiled."""
        beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(WARM_UP_RUNS):
                step()
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as those that copy pictures, may go on meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            outcome = step()

        def replay() -> torch.Tensor:
            graph.replay()
            return outcome

        return replay
