"""How far a load is, live, on a terminal and nowhere else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar

from deploy.bench.load import Clock, Progress

REFRESH_SECONDS = 0.25


@asynccontextmanager
async def shown_live(
    console: Console, progress: Progress, num_requests: int, clock: Clock
) -> AsyncIterator[None]:
    """Show a bar with counts and the rate of tokens for the length of the context.

    Args:
        console: Where to; nothing is shown where it is no terminal.
        progress: Changes meanwhile.
        num_requests: To be sent in all.
        clock: Seconds, of which only differences count.
    """
    if not console.is_terminal:
        yield
        return
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
    )
    with ProgressBar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=num_requests, state="")
        began = clock()

        def show() -> None:
            state = line(progress, clock() - began)
            bar.update(task, completed=progress.answered + progress.failed, state=state)

        async def keep_showing() -> None:
            while True:
                show()
                await asyncio.sleep(REFRESH_SECONDS)

        showing = asyncio.create_task(keep_showing())
        try:
            yield
        finally:
            showing.cancel()
            show()


def line(progress: Progress, seconds: float) -> str:
    """What stands behind the bar."""
    under_way = progress.sent - progress.answered - progress.failed
    rate = progress.output_tokens / seconds if seconds > 0 else 0.0
    failed = f"  {progress.failed} failed" if progress.failed else ""
    return f"{under_way} under way  {rate:.0f} tok/s{failed}"
