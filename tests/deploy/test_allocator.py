"""The allocator settings of a replica do what they are for."""

import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

from deploy.allocator import ALLOCATOR

COUNT_FAULTS = """
import resource
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for size in (1 << 20, 4 << 20, 40 << 20):
    bytearray(size)
before = faults()
for _ in range(20):
    for size in (1 << 20, 4 << 20, 40 << 20):
        bytearray(size)
print(faults() - before)
"""


def page_faults(environment: Mapping[str, str]) -> int:
    """Page faults of a process that takes and frees buffers of megabytes again and again."""
    plain = {name: value for name, value in os.environ.items() if name not in ALLOCATOR}
    command = [sys.executable, "-c", COUNT_FAULTS]
    done = subprocess.run(
        command, env={**plain, **environment}, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings")
def test_buffers_of_megabytes_are_kept_and_not_faulted_in_again() -> None:
    assert page_faults(ALLOCATOR) * 20 < page_faults({})
