"""A stream that gRPC loses in mid-write counts as a lost peer, never as the peer's own failure."""

import grpc

from common.errors import DvdError, UnavailableError
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
