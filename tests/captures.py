"""Ways to capture a step where there is no GPU."""

import torch

from common.device_graphs import Step


class RunAgain:
    """Runs a step again each time, which is what a graph does; counts.

    Attributes:
        num_rows: Of every captured step's outcome, in order.
        replays: The same of every replay.
    """

    def __init__(self) -> None:
        self.num_rows: list[int] = []
        self.replays: list[int] = []

    def __call__(self, step: Step) -> Step:
        number = len(step())
        self.num_rows.append(number)

        def replay() -> torch.Tensor:
            self.replays.append(number)
            return step()

        return replay


def never(step: Step) -> Step:
    """A device that captures nothing."""
    raise RuntimeError(f"operation not permitted when stream is capturing: {step}")
