"""The field `continue_from`: what was told is taken back whole, anything else names its field."""

from typing import Any

import pytest

from common.errors import InvalidRequestError
from common.resolution_rule import ResolutionThresholds
from common.types import AnswerSoFar, ChoiceEnd, FinishReason, ResolutionScope, StopMatch
from protos.dvd.v1 import inference_pb2
from router.answer import AppliedResolution
from router.requests import ValidRequest
from router.validation import RequestValidator, ServedModel
from tests.router.test_pipeline import FLASH
from tests.router.test_validation import CONFIG, MODEL, SQUARE, USER, image, message, text

So = inference_pb2.AnswerSoFar
RULE = inference_pb2.AppliedResolution(
    scope=inference_pb2.RESOLUTION_SCOPE_IMAGE, relative_threshold=0.5, absolute_threshold=0.25
)
TILES = 5  # of SQUARE, its thumbnail among them


def resolution(num_tiles: int = TILES, num_scores: int = TILES) -> inference_pb2.ImageResolution:
    compressed = [index % 2 == 1 for index in range(num_tiles)]
    return inference_pb2.ImageResolution(scores=[0.5] * num_scores, compressed=compressed)


def decided(*images: inference_pb2.ImageResolution) -> inference_pb2.GenerateDecided:
    return inference_pb2.GenerateDecided(images=images, resolution=RULE)


def asking(*answers: inference_pb2.AnswerSoFar, **fields: Any) -> inference_pb2.GenerateRequest:
    """A request that goes on; about one picture where something is decided."""
    event = fields.pop("decided", None)
    pictures = fields.pop("pictures", 0 if event is None else 1)
    parts = [image(SQUARE)] * pictures
    return inference_pb2.GenerateRequest(
        messages=[message(USER, *parts, text())],
        sampling=inference_pb2.SamplingParameters(**{"seed": 3, "max_tokens": 4, **fields}),
        continue_from=inference_pb2.ContinueFrom(answers=answers, decided=event),
    )


def read(request: inference_pb2.GenerateRequest, flash: bool = True) -> ValidRequest:
    model = ServedModel("tiny", "fingerprint", FLASH if flash else MODEL, 400)
    return RequestValidator(CONFIG, model).validate(request)


def test_a_new_request_continues_nothing() -> None:
    assert (
        read(inference_pb2.GenerateRequest(messages=[message(USER, text())])).continue_from is None
    )


def test_tokens_and_ends_are_taken_back() -> None:
    end = inference_pb2.ChoiceEnd(
        finish_reason=inference_pb2.FINISH_REASON_STOP,
        stop=inference_pb2.StopMatch(token_id=9),
        completion_tokens=2,
    )
    valid = read(asking(So(token_ids=[7, 8], end=end), So(token_ids=[7]), n=2))
    assert valid.continue_from is not None
    assert valid.continue_from.answers == (
        AnswerSoFar((7, 8), ChoiceEnd(FinishReason.STOP, 2, StopMatch(token_id=9))),
        AnswerSoFar((7,)),
    )


def test_what_was_decided_is_taken_back() -> None:
    valid = read(asking(So(token_ids=[7]), decided=decided(resolution())))
    assert valid.continue_from is not None
    event = valid.continue_from.decided
    assert event is not None
    assert event.images[0].compressed == (False, True, False, True, False)
    assert event.images[0].grid == valid.images[0].grid
    thresholds = ResolutionThresholds(0.5, 0.25)
    assert event.resolution == AppliedResolution(ResolutionScope.IMAGE, thresholds, False)


def test_with_nothing_delivered_nothing_need_be_decided() -> None:
    valid = read(asking(So(), pictures=1))
    assert valid.continue_from is not None
    assert valid.continue_from.decided is None


@pytest.mark.parametrize(
    ("request_wire", "field"),
    [
        (asking(So(token_ids=[1] * 5)), "answers[0].token_ids"),
        (asking(So(), So()), "answers"),
        (asking(So(end=inference_pb2.ChoiceEnd(completion_tokens=0))), "answers[0].end"),
        (
            asking(
                So(
                    token_ids=[1],
                    end=inference_pb2.ChoiceEnd(
                        finish_reason=inference_pb2.FINISH_REASON_STOP, completion_tokens=2
                    ),
                )
            ),
            "answers[0].end",
        ),
        (asking(So(token_ids=[1]), pictures=1), "decided"),
        (asking(So(), decided=decided(resolution(), resolution())), "decided"),
        (asking(So(), decided=decided(resolution(4))), "decided"),
        (asking(So(), decided=decided(resolution(num_scores=4))), "decided"),
        (
            asking(
                So(),
                decided=inference_pb2.GenerateDecided(
                    images=[resolution()], resolution=inference_pb2.AppliedResolution()
                ),
            ),
            "decided.resolution",
        ),
    ],
)
def test_what_was_never_told_is_refused(
    request_wire: inference_pb2.GenerateRequest, field: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read(request_wire)
    assert caught.value.field == f"continue_from.{field}"


def test_without_the_seed_nothing_goes_on() -> None:
    request = asking(So(token_ids=[1]))
    request.sampling.ClearField("seed")
    with pytest.raises(InvalidRequestError) as caught:
        read(request)
    assert caught.value.field == "sampling.seed"


def test_without_a_gate_no_tile_was_compressed() -> None:
    with pytest.raises(InvalidRequestError, match="compresses no tiles"):
        read(asking(So(), decided=decided(resolution())), flash=False)
