"""CPU time of another process is what that process itself counts."""

import os
import time

import pytest

from benchmarks.deployment import cpu_seconds


def test_cpu_time_is_what_the_process_itself_counts() -> None:
    assert cpu_seconds(os.getpid()) == pytest.approx(time.process_time(), abs=0.1)


def test_there_is_none_of_a_process_that_is_gone() -> None:
    with pytest.raises(FileNotFoundError):
        cpu_seconds(2**22 + 1)
