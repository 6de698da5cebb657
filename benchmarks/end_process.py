"""One end of a measured connection: a process on given cores that answers lines of JSON.

The two ends of a transport must not share an interpreter, and their CPU time must be told apart.
"""

import asyncio
import json
import os
import resource
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

Answer = dict[str, Any]
Command = Callable[[Mapping[str, Any]], Awaitable[Answer]]


class EndProcess:
    """The measuring side of one end.

    Args:
        arguments: Of `python -m`.
        cores: Where every thread of the process runs.
        environment: Laid over this process's own.
    """

    def __init__(
        self, arguments: Sequence[str], cores: set[int], environment: Mapping[str, str]
    ) -> None:
        mine = os.sched_getaffinity(0)
        # Inherited, also by the threads that a library starts while it is imported.
        os.sched_setaffinity(0, cores)
        self._process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **environment},
        )
        os.sched_setaffinity(0, mine)
        self.pid = self._process.pid
        self.ready = self._read()

    def ask(self, **command: object) -> Answer:
        """Have one command done."""
        self.tell(**command)
        return self._read()

    def tell(self, **command: object) -> None:
        """Begin a command; `answer` waits for its end."""
        if self._process.stdin is None:
            raise AssertionError("stdin is a pipe")
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Answer:
        """Wait for the end of the command that was told last."""
        return self._read()

    def resident_bytes(self) -> int:
        """Memory of the process now."""
        pages = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.communicate()

    def _read(self) -> Answer:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError("an end died; its words are above")
        answer: Answer = json.loads(line)
        return answer


async def obey(ready: Answer, command: Command) -> None:
    """Be the measured side: say what is ready, then do commands until stdin ends."""
    print(json.dumps(ready), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await command(json.loads(line))), flush=True)


def cpu_seconds() -> float:
    """CPU time of this process so far, in user and kernel, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
