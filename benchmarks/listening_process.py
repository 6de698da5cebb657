"""Which process of this machine listens on an address, so that it can be killed.

Read from `/proc`: replicas are processes of Ray, which does not tell whose they are.
"""

from pathlib import Path

LISTENING = "0A"


def listening_pid(address: str) -> int:
    """The process that listens on `host:port`, IPv4 or IPv6.

    Raises:
        ProcessLookupError: There is none that this user may see.
    """
    port = int(address.rpartition(":")[2])
    wanted = {f"socket:[{inode}]" for table in ("tcp", "tcp6") for inode in _inodes(table, port)}
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(descriptor.readlink()) in wanted:
                return int(descriptor.parts[2])
        except OSError:
            continue  # It has ended, or is not ours.
    raise ProcessLookupError(f"Nobody listens on {address}.")


def _inodes(table: str, port: int) -> list[str]:
    lines = Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]
    entries = [line.split() for line in lines]
    return [
        entry[9]
        for entry in entries
        if entry[3] == LISTENING and int(entry[1].rpartition(":")[2], 16) == port
    ]
