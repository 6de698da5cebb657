"""Every failure that can leave a process, as one tree.

Servicers and engines raise these; `common.rpc` turns them into gRPC status once, at the process
boundary, and back again on the caller's side. The message is written for the client: one
sentence, what is wrong and what to do, without paths or library text.

    DvdError                          INTERNAL             500
    ├── InvalidRequestError           INVALID_ARGUMENT     400   names the field at fault
    │   ├── InvalidImageError         INVALID_ARGUMENT     400
    │   └── RequestTooLargeError      INVALID_ARGUMENT     413
    ├── ModelNotFoundError            NOT_FOUND            404
    ├── FeaturesNotFoundError         NOT_FOUND            404   encode again
    ├── UnauthenticatedError          UNAUTHENTICATED      401
    ├── SlotTakenError                ALREADY_EXISTS       409   another attempt was first
    ├── OverloadedError               RESOURCE_EXHAUSTED   429   carries a retry delay
    ├── MismatchError                 FAILED_PRECONDITION  412   peers disagree, both values named
    ├── WrongStateError               FAILED_PRECONDITION  412   not as things are now
    ├── EmbeddingRejectedError        INVALID_ARGUMENT     400   bytes do not fit the manifest
    ├── DeadlineExpiredError          DEADLINE_EXCEEDED    504
    ├── CancelledRequestError         CANCELLED            499
    ├── RankLostError                 INTERNAL             500   ends the replica, reaches nobody
    ├── UnavailableError              UNAVAILABLE          503   retry may help
    │   ├── UnreachableError          UNAVAILABLE          503   no answer: the connection failed
    │   └── StrandedError             UNAVAILABLE          503   an embedding does not get through
    └── StartupError                  told to operators alone
        ├── ConfigError               exit code 2
        └── CheckpointError           exit code 1
"""

from typing import ClassVar

import grpc


class DvdError(Exception):
    """Something went wrong inside; the base of all errors.

    Attributes:
        code: gRPC status code.
        http_status: Status of the HTTP door.
        message: One sentence for the client.
    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL
    http_status: ClassVar[int] = 500

    def __init__(self, message: str = "Internal error.") -> None:
        super().__init__(message)
        self.message = message


class InvalidRequestError(DvdError):
    """The request can never succeed as it is; `field` says where, as in `messages[0].parts[1]`."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    http_status = 400

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class InvalidImageError(InvalidRequestError):
    """A picture cannot be decoded or breaks a bound."""


class RequestTooLargeError(InvalidRequestError):
    """The request has more bytes than one may have."""

    http_status = 413


class UnauthenticatedError(DvdError):
    """The caller does not show the key that this deployment asks for."""

    code = grpc.StatusCode.UNAUTHENTICATED
    http_status = 401


class ModelNotFoundError(DvdError):
    """The named model is not served here."""

    code = grpc.StatusCode.NOT_FOUND
    http_status = 404


class FeaturesNotFoundError(DvdError):
    """A vision replica no longer keeps the picture that it should push."""

    code = grpc.StatusCode.NOT_FOUND
    http_status = 404


class SlotTakenError(DvdError):
    """Another attempt has already filled this place in the inbox."""

    code = grpc.StatusCode.ALREADY_EXISTS
    http_status = 409


class OverloadedError(DvdError):
    """A bound on outstanding work is reached; the request may come again later."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    http_status = 429

    def __init__(self, message: str, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class MismatchError(DvdError):
    """Two peers disagree about the model or its shape; the message names both values."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    http_status = 412


class WrongStateError(DvdError):
    """What is asked for does not go as things are now; the message says how they are."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    http_status = 412


class EmbeddingRejectedError(DvdError):
    """An embedding stream does not keep its own manifest."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    http_status = 400


class DeadlineExpiredError(DvdError):
    """The client's deadline passed."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    http_status = 504


class CancelledRequestError(DvdError):
    """The client went away."""

    code = grpc.StatusCode.CANCELLED
    http_status = 499


class RankLostError(DvdError):
    """A rank of a tensor-parallel group is gone, hangs or has failed: the group ends as a whole."""


class UnavailableError(DvdError):
    """A replica is starting, draining or lost; trying again may help."""

    code = grpc.StatusCode.UNAVAILABLE
    http_status = 503


class UnreachableError(UnavailableError):
    """A replica cannot be connected to, or the connection broke: it has said nothing itself."""


class StrandedError(UnavailableError):
    """An embedding does not get through to the language replica that waits for it."""


class StartupError(DvdError):
    """Something cannot start; shown to the operator, never sent to a client."""


class ConfigError(StartupError):
    """The configuration is wrong; the message names the key."""


class CheckpointError(StartupError):
    """The model directory is wrong; the message names the file or tensor."""
