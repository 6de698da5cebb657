"""What every example is told: where a cluster serves. Start one with `dvd serve`."""

import argparse
from pathlib import Path

PICTURES = Path(__file__).parent / "pictures"
GRPC = "127.0.0.1:50051"
HTTP = "127.0.0.1:8000"


def read_address(what_it_does: str | None, default: str) -> str:
    """Read `--address` from the command line.

    Args:
        what_it_does: The example's docstring.
        default: The door's usual `host:port`.
    """
    parser = argparse.ArgumentParser(description=(what_it_does or "").partition("\n")[0])
    parser.add_argument("--address", default=default, help="host:port of the door")
    address: str = parser.parse_args().address
    return address
