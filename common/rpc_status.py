"""Errors on the wire: a `DvdError` to a rich gRPC status, and back on the caller's side.

The status carries an ErrorInfo with the class name as its reason, a BadRequest with the field at
fault, and a RetryInfo with the delay, as the google.rpc conventions have it.
"""

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from common import errors
from common.errors import DvdError, InvalidRequestError, OverloadedError

ERROR_DOMAIN = "dvd"
BY_REASON: dict[str, type[DvdError]] = {
    name: member
    for name, member in vars(errors).items()
    if isinstance(member, type) and issubclass(member, DvdError)
}
BY_CODE: dict[grpc.StatusCode, type[DvdError]] = {
    grpc.StatusCode.UNAVAILABLE: errors.UnreachableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExpiredError,
    grpc.StatusCode.CANCELLED: errors.CancelledRequestError,
    # gRPC itself runs out of nothing but message size.
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.InvalidRequestError,
    # A peer's own failure carries our ErrorInfo; without it gRPC lost the stream in mid-write.
    grpc.StatusCode.INTERNAL: errors.UnavailableError,
}
OWN_WORDS: dict[grpc.StatusCode, str] = {
    grpc.StatusCode.UNAVAILABLE: "A replica cannot be reached.",
    grpc.StatusCode.DEADLINE_EXCEEDED: "The deadline passed.",
    grpc.StatusCode.CANCELLED: "The request was cancelled.",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "The request is too large.",
    grpc.StatusCode.INTERNAL: "The stream to a replica broke off.",
}


def status_of(error: DvdError) -> grpc.Status:
    """Encode an error for `abort_with_status`."""
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=type(error).__name__, domain=ERROR_DOMAIN)
    ]
    if isinstance(error, InvalidRequestError) and error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=error.message
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, OverloadedError):
        delay = Duration()
        delay.FromNanoseconds(int(error.retry_after_seconds * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=error.code.value[0], message=error.message)
    for detail in details:
        packed = Any()
        packed.Pack(detail)
        status.details.append(packed)
    encoded: grpc.Status = rpc_status.to_status(status)
    return encoded


def error_of(failure: grpc.aio.AioRpcError) -> DvdError:
    """Decode a failed call into the error that the other side raised.

    A status without our ErrorInfo comes from gRPC itself; its words are not passed on.
    """
    status = _rich_status(failure)
    info, field, delay = error_details_pb2.ErrorInfo(), "", 1.0
    for detail in status.details if status is not None else ():
        detail.Unpack(info)
        bad, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Unpack(bad) and bad.field_violations:
            field = bad.field_violations[0].field
        if detail.Unpack(retry):
            delay = retry.retry_delay.ToTimedelta().total_seconds()
    if info.domain == ERROR_DOMAIN and info.reason in BY_REASON:
        kind, message = BY_REASON[info.reason], failure.details() or ""
        if issubclass(kind, InvalidRequestError):
            return kind(message, field)
        if issubclass(kind, OverloadedError):
            return kind(message, delay)
        return kind(message)
    code = failure.code()
    return BY_CODE.get(code, DvdError)(OWN_WORDS.get(code, "Internal error."))


def _rich_status(failure: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    """The status that the other side wrote; None where gRPC has put its own in its place.

    A deadline that passes while a refusal is on its way leaves the one's words with the other's
    details.
    """
    try:
        return rpc_status.from_call(failure)
    except (DecodeError, ValueError):
        return None
