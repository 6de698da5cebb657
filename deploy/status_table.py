"""Shows what runs as a table."""

from rich.console import Console
from rich.table import Table

from protos.dvd.v1 import replica_pb2, supervisor_pb2

COLUMNS = ("name", "role", "ranks", "state", "incarnation", "running", "waiting", "work", "address")
WIDEST = 1000
SHOWN_INCARNATION = 8
SHOWN_FINGERPRINT = 12
STYLES = {"serving": "green", "unhealthy": "red", "draining": "yellow", "starting": "yellow"}


def print_status(status: supervisor_pb2.GetStatusResponse, console: Console) -> None:
    """Print model, replicas and routers."""
    console.print(f"{status.model}  fingerprint {status.fingerprint[:SHOWN_FINGERPRINT]}")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for head in COLUMNS:
        table.add_column(head, no_wrap=True)
    for each in status.replicas:
        table.add_row(*_replica_row(each))
    for router in status.routers:
        state = "serving" if router.is_serving else "unhealthy"
        restarts = f"{router.restarts} restarts"
        table.add_row("router", "router", "", _styled(state), restarts, "", "", "", router.address)
    # Nothing is cut for a narrow terminal, or where the table goes to a file: names are copied.
    wanted = console.measure(table, options=console.options.update(width=WIDEST)).maximum
    console.width = max(wanted, console.width)
    console.print(table)


def _replica_row(each: supervisor_pb2.ReplicaStatus) -> tuple[str, ...]:
    replica, load = each.replica, each.load
    known = each.HasField("load")
    return (
        replica.name,
        _word(replica_pb2.ReplicaRole.Name(replica.role), "REPLICA_ROLE_"),
        str(each.num_ranks),
        _styled(_word(supervisor_pb2.ReplicaState.Name(each.state), "REPLICA_STATE_")),
        replica.incarnation[:SHOWN_INCARNATION],
        str(load.running_requests) if known else "",
        str(load.waiting_requests) if known else "",
        str(load.outstanding_work) if known else "",
        replica.address,
    )


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()


def _styled(state: str) -> str:
    style = STYLES.get(state)
    return f"[{style}]{state}[/{style}]" if style else state
