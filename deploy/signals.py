"""Being told to stop, as an event."""

import asyncio
import signal


def stop_on_signals() -> asyncio.Event:
    """Turn SIGTERM and SIGINT into an event; a second signal ends the process at once."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        stopping.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    # After Ray's own handlers, which would end the process without draining.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    return stopping
