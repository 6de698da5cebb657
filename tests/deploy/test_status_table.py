"""The table of `dvd status`: a row for everyone, and nothing made up for who gives no answer."""

from itertools import pairwise

from rich.console import Console

from deploy.status_table import COLUMNS, print_status
from protos.dvd.v1 import replica_pb2, supervisor_pb2


def shown(*replicas: supervisor_pb2.ReplicaStatus, width: int = 200) -> list[str]:
    """The lines of a table of these replicas and one router."""
    console = Console(record=True, width=width)
    router = supervisor_pb2.RouterStatus(address="127.0.0.1:1", is_serving=True, restarts=2)
    status = supervisor_pb2.GetStatusResponse(
        model="tiny", fingerprint="0123456789abcdef", replicas=replicas, routers=[router]
    )
    print_status(status, console)
    return console.export_text().splitlines()


def row(name: str, lines: list[str]) -> list[str]:
    """The cells of a line, those that are empty included."""
    head = next(line for line in lines if line.startswith("name "))
    (line,) = [line for line in lines if line.startswith(f"{name} ")]
    starts = [head.index(column) for column in COLUMNS]
    return [line[a:b].strip() for a, b in pairwise([*starts, len(line) + 1])]


def test_a_replica_that_serves_shows_who_it_is_and_how_busy() -> None:
    lines = shown(
        supervisor_pb2.ReplicaStatus(
            replica=replica_pb2.Replica(
                name="vision-0",
                role=replica_pb2.REPLICA_ROLE_VISION,
                incarnation="abcdefghijkl",
                address="127.0.0.1:2",
            ),
            state=supervisor_pb2.REPLICA_STATE_SERVING,
            num_ranks=1,
            load=replica_pb2.LoadReport(
                running_requests=3, waiting_requests=4, outstanding_work=50
            ),
        )
    )
    expected = ["vision-0", "vision", "1", "serving", "abcdefgh", "3", "4", "50", "127.0.0.1:2"]
    assert row("vision-0", lines) == expected


def test_one_that_is_not_there_has_no_load() -> None:
    lines = shown(
        supervisor_pb2.ReplicaStatus(
            replica=replica_pb2.Replica(name="language-1", role=replica_pb2.REPLICA_ROLE_LANGUAGE),
            state=supervisor_pb2.REPLICA_STATE_DRAINED,
            num_ranks=4,
        )
    )
    assert row("language-1", lines) == ["language-1", "language", "4", "drained", *[""] * 5]


def test_model_and_routers_are_shown() -> None:
    lines = shown()
    assert lines[0] == "tiny  fingerprint 0123456789ab"
    assert row("router", lines)[3:5] == ["serving", "2 restarts"]


def test_nothing_is_cut_where_the_terminal_is_narrow() -> None:
    name, address = "language-10", "a-host-with-a-long-name.example:50051"
    replica = replica_pb2.Replica(
        name=name, role=replica_pb2.REPLICA_ROLE_LANGUAGE, address=address
    )
    lines = shown(supervisor_pb2.ReplicaStatus(replica=replica), width=40)
    assert row(name, lines)[-1] == address
