"""The field `continue_from` of a request, checked: where a stream that was cut off goes on.

A client that tells another story than it was told gets another answer, and nobody else does: the
masks name other keys in every cache, and the scores are not remembered.
"""

from common.errors import InvalidRequestError
from common.resolution_rule import ResolutionThresholds
from common.sampling_wire import FINISH_REASONS, read_answer
from common.types import AnswerSoFar, SamplingRequest
from protos.dvd.v1 import inference_pb2
from router.answer import AnswerDecided, AppliedResolution, ImageResolution
from router.requests import ContinueFrom, ValidImage, ValidRequest
from router.resolution_options import SCOPES

FIELD = "continue_from"


def read_continue_from(
    wire: inference_pb2.GenerateRequest, request: ValidRequest
) -> ContinueFrom | None:
    """Check everything that can be known without the model; None for a request that begins.

    Args:
        wire: The request as it came.
        request: The rest of it.

    Raises:
        InvalidRequestError: Names the field at fault.
    """
    if not wire.HasField(FIELD):
        return None
    given, sampling = wire.continue_from, request.sampling
    if not wire.sampling.HasField("seed"):
        raise InvalidRequestError(
            "A request goes on with the seed that it was told.", "sampling.seed"
        )
    if len(given.answers) != sampling.num_choices:
        raise InvalidRequestError(
            f"{sampling.num_choices} answers are asked for; {len(given.answers)} go on.",
            f"{FIELD}.answers",
        )
    answers = tuple(
        _answer(answer, sampling, f"{FIELD}.answers[{index}]")
        for index, answer in enumerate(given.answers)
    )
    decided = _decided(given.decided, request) if given.HasField("decided") else None
    has_begun = any(answer.token_ids or answer.end for answer in answers)
    if request.images and has_begun and decided is None:
        raise InvalidRequestError(
            "An answer about pictures goes on with the decided event that it was told.",
            f"{FIELD}.decided",
        )
    return ContinueFrom(answers, decided)


def _answer(wire: inference_pb2.AnswerSoFar, sampling: SamplingRequest, field: str) -> AnswerSoFar:
    if sampling.max_tokens is not None and len(wire.token_ids) > sampling.max_tokens:
        raise InvalidRequestError(
            f"An answer has {len(wire.token_ids)} tokens; max_tokens is {sampling.max_tokens}.",
            f"{field}.token_ids",
        )
    if wire.HasField("end"):
        if wire.end.finish_reason not in FINISH_REASONS:
            raise InvalidRequestError("An end needs a reason.", f"{field}.end")
        if wire.end.completion_tokens != len(wire.token_ids):
            raise InvalidRequestError(
                f"An answer ended with {wire.end.completion_tokens} tokens and has "
                f"{len(wire.token_ids)}.",
                f"{field}.end",
            )
    return read_answer(wire)


def _decided(wire: inference_pb2.GenerateDecided, request: ValidRequest) -> AnswerDecided:
    field, images = f"{FIELD}.decided", request.images
    if len(wire.images) != len(images):
        raise InvalidRequestError(
            f"{len(wire.images)} pictures are decided; the request has {len(images)}.", field
        )
    if request.thresholds is None and any(any(image.compressed) for image in wire.images):
        raise InvalidRequestError("The served model compresses no tiles.", field)
    return AnswerDecided(
        tuple(map(_resolution, wire.images, images)),
        _rule(wire.resolution, field) if wire.HasField("resolution") else None,
    )


def _resolution(wire: inference_pb2.ImageResolution, image: ValidImage) -> ImageResolution:
    tiles = image.grid.num_tiles
    if len(wire.compressed) != tiles or len(wire.scores) not in (0, tiles):
        raise InvalidRequestError(
            f"A picture of {tiles} tiles is decided for {len(wire.compressed)}, "
            f"with {len(wire.scores)} scores.",
            f"{FIELD}.decided",
        )
    return ImageResolution(
        image.grid, tuple(wire.scores), tuple(wire.compressed), image.orientation
    )


def _rule(wire: inference_pb2.AppliedResolution, field: str) -> AppliedResolution:
    if wire.scope not in SCOPES:
        raise InvalidRequestError("A rule needs a scope.", f"{field}.resolution")
    thresholds = ResolutionThresholds(wire.relative_threshold, wire.absolute_threshold)
    return AppliedResolution(SCOPES[wire.scope], thresholds, wire.raised_for_load)
