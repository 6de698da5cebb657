"""A stream that gRPC loses in mid-write counts as a lost peer, never as the peer's own failure."""

import grpc

from common.errors import DeadlineExpiredError, DvdError, UnavailableError, UnreachableError
from common.rpc_status import error_of, status_of


def failure(code: grpc.StatusCode, *trailing: tuple[str, bytes]) -> grpc.aio.AioRpcError:
    metadata = grpc.aio.Metadata(*trailing)
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), metadata, details="Internal error.")


def test_an_internal_status_of_grpc_itself_means_that_the_peer_was_lost() -> None:
    error = error_of(failure(grpc.StatusCode.INTERNAL))
    assert type(error) is UnavailableError
    assert error.message == "The stream to a replica broke off."


def test_a_peers_own_internal_error_stays_one() -> None:
    status = status_of(DvdError())
    error = error_of(failure(grpc.StatusCode.INTERNAL, *status.trailing_metadata))
    assert type(error) is DvdError


def test_a_status_that_grpc_has_changed_on_its_way_counts_by_its_code() -> None:
    status = status_of(DeadlineExpiredError("The time is over."))
    removed = failure(grpc.StatusCode.DEADLINE_EXCEEDED, *status.trailing_metadata)
    error = error_of(removed)
    assert type(error) is DeadlineExpiredError
    assert error.message == "The deadline passed."


def test_a_status_that_cannot_be_read_counts_by_its_code() -> None:
    torn = failure(grpc.StatusCode.UNAVAILABLE, ("grpc-status-details-bin", b"\xff\xff"))
    assert type(error_of(torn)) is UnreachableError
