"""The table of `dvd status`: a row for everyone, and nothing made up for who gives no answer."""

from rich.console import Console

from deploy.status_table import print_status
from protos.dvd.v1 import replica_pb2, supervisor_pb2


def shown(*replicas: supervisor_pb2.ReplicaStatus) -> list[str]:
    """The lines of a table of these replicas and one router."""
    console = Console(record=True, width=200)
    router = supervisor_pb2.RouterStatus(address="127.0.0.1:1", is_serving=True, restarts=2)
    status = supervisor_pb2.GetStatusResponse(
        model="tiny", fingerprint="0123456789abcdef", replicas=replicas, routers=[router]
    )
    print_status(status, console)
    return console.export_text().splitlines()


def row(name: str, lines: list[str]) -> list[str]:
    (line,) = [line for line in lines if f" {name} " in line]
    return [cell.strip() for cell in line.strip("│").split("│")]


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
            load=replica_pb2.LoadReport(
                running_requests=3, waiting_requests=4, outstanding_work=50
            ),
        )
    )
    expected = ["vision-0", "vision", "serving", "abcdefgh", "3", "4", "50", "127.0.0.1:2"]
    assert row("vision-0", lines) == expected


def test_one_that_is_not_there_has_no_load() -> None:
    lines = shown(
        supervisor_pb2.ReplicaStatus(
            replica=replica_pb2.Replica(name="language-1", role=replica_pb2.REPLICA_ROLE_LANGUAGE),
            state=supervisor_pb2.REPLICA_STATE_DRAINED,
        )
    )
    assert row("language-1", lines) == ["language-1", "language", "drained", *[""] * 5]


def test_model_and_routers_are_shown() -> None:
    lines = shown()
    assert lines[0] == "tiny  fingerprint 0123456789ab"
    assert row("router", lines)[2:4] == ["serving", "2 restarts"]
