"""Every error crosses a real connection and arrives as it left."""

from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from common import errors
from common.errors import DvdError, InvalidRequestError, OverloadedError, StartupError
from common.rpc import call
from protos.dvd.v1 import vision_pb2, vision_pb2_grpc
from tests.loopback import serving

ON_THE_WIRE = [
    DvdError("The model computed a value that is not finite."),
    errors.InvalidRequestError("A message needs a role.", "messages[0].role"),
    errors.InvalidRequestError("A request without a field at fault."),
    errors.InvalidImageError("The picture is empty.", "messages[1].parts[0].image"),
    errors.RequestTooLargeError("A request may have 5 bytes."),
    errors.UnauthenticatedError("Show the key."),
    errors.ModelNotFoundError("The served model is größe-✓."),
    errors.FeaturesNotFoundError("Encode it again."),
    errors.SlotTakenError("The picture has already arrived."),
    errors.OverloadedError("Too many tiles.", 2.5),
    errors.OverloadedError("Too many tiles.", 0.0),
    errors.MismatchError("Element type differs: a, b."),
    errors.EmbeddingRejectedError("A chunk is empty."),
    errors.DeadlineExpiredError("The deadline passed."),
    errors.CancelledRequestError("The request was cancelled."),
    errors.RankLostError("Rank 1 is gone."),
    errors.UnavailableError("No vision replica is ready.\nTry again: 100 %."),
    errors.UnreachableError("A replica cannot be reached."),
    errors.StrandedError("The language replica cannot be reached."),
    errors.WrongStateError("vision-0 is the only one."),
]


class Failing(vision_pb2_grpc.VisionServiceServicer):
    """Raises one error from every call."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def Encode(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        raise self.error


class Aborting(vision_pb2_grpc.VisionServiceServicer):
    """Ends every call with a status that is not ours."""

    def __init__(self, status: status_pb2.Status) -> None:
        self.status = status

    async def Encode(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        await context.abort_with_status(rpc_status.to_status(self.status))


async def encode_error(servicer: vision_pb2_grpc.VisionServiceServicer) -> DvdError:
    """What a caller of this servicer gets."""
    async with serving(vision_pb2_grpc.add_VisionServiceServicer_to_server, servicer) as loopback:
        stub = vision_pb2_grpc.VisionServiceStub(loopback.channel)
        with pytest.raises(DvdError) as caught:
            await call(stub.Encode(vision_pb2.EncodeRequest(), timeout=10))
    return caught.value


def foreign_status(code: grpc.StatusCode, reason: str, domain: str) -> status_pb2.Status:
    detail = AnyMessage()
    detail.Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain))
    return status_pb2.Status(code=code.value[0], message="library text", details=[detail])


@pytest.mark.parametrize("error", ON_THE_WIRE, ids=lambda error: type(error).__name__)
async def test_an_error_arrives_as_it_left(error: DvdError) -> None:
    arrived = await encode_error(Failing(error))
    assert type(arrived) is type(error)
    assert vars(arrived) == vars(error)
    assert arrived.args == error.args


def test_no_error_is_forgotten_above() -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type)}
    ours = {k for k in kinds if issubclass(k, DvdError) and not issubclass(k, StartupError)}
    assert {type(error) for error in ON_THE_WIRE} == ours


async def test_the_call_carries_the_errors_own_code_and_words() -> None:
    arrived = await encode_error(Failing(errors.MismatchError("They differ.")))
    assert isinstance(arrived.__cause__, grpc.aio.AioRpcError)
    assert arrived.__cause__.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert arrived.__cause__.details() == "They differ."


async def test_a_field_at_fault_is_a_bad_request_detail() -> None:
    arrived = await encode_error(Failing(InvalidRequestError("Bad.", "sampling.seed")))
    bad = error_details_pb2.BadRequest()
    details = rpc_status.from_call(arrived.__cause__).details
    assert any(detail.Unpack(bad) for detail in details)
    assert bad.field_violations[0].field == "sampling.seed"
    assert bad.field_violations[0].description == "Bad."


async def test_a_delay_is_a_retry_info_detail() -> None:
    arrived = await encode_error(Failing(OverloadedError("Busy.", 1.25)))
    retry = error_details_pb2.RetryInfo()
    details = rpc_status.from_call(arrived.__cause__).details
    assert any(detail.Unpack(retry) for detail in details)
    assert retry.retry_delay.ToMilliseconds() == 1250


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.UnreachableError, "A replica cannot be reached."),
        (
            grpc.StatusCode.DEADLINE_EXCEEDED,
            errors.DeadlineExpiredError,
            "The deadline passed.",
        ),
        (
            grpc.StatusCode.CANCELLED,
            errors.CancelledRequestError,
            "The request was cancelled.",
        ),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            errors.InvalidRequestError,
            "The request is too large.",
        ),
        (grpc.StatusCode.UNIMPLEMENTED, DvdError, "Internal error."),
        (grpc.StatusCode.INVALID_ARGUMENT, DvdError, "Internal error."),
    ],
)
@pytest.mark.parametrize(("reason", "domain"), [("SlotTakenError", "elsewhere"), ("Odd", "dvd")])
async def test_of_a_status_that_is_not_ours_only_the_code_counts(
    code: grpc.StatusCode, kind: type[DvdError], words: str, reason: str, domain: str
) -> None:
    arrived = await encode_error(Aborting(foreign_status(code, reason, domain)))
    assert type(arrived) is kind
    assert arrived.message == words
