"""What a client has of an answer, and what it asks the next router for."""

from deploy.interrupted_stream import InterruptedStream
from protos.dvd.v1 import inference_pb2

Response = inference_pb2.GenerateResponse
STARTED = Response(started=inference_pb2.GenerateStarted(request_id="r1", seed=5))
DECIDED = Response(
    decided=inference_pb2.GenerateDecided(
        images=[inference_pb2.ImageResolution(scores=[0.5], compressed=[True])]
    )
)
END = inference_pb2.ChoiceEnd(finish_reason=inference_pb2.FINISH_REASON_LENGTH, completion_tokens=1)


def delta(*token_ids: int, choice: int = 0, **fields: inference_pb2.ChoiceEnd) -> Response:
    return Response(delta=inference_pb2.GenerateDelta(token_ids=token_ids, choice=choice, **fields))


def asked(n: int | None = None) -> inference_pb2.GenerateRequest:
    return inference_pb2.GenerateRequest(
        model="tiny", sampling=inference_pb2.SamplingParameters(max_tokens=9, n=n)
    )


def test_before_anything_has_come_the_same_is_asked_again() -> None:
    stream = InterruptedStream(asked())
    assert not stream.has_begun
    assert stream.next_request() == asked()


def test_it_goes_on_with_what_it_was_told() -> None:
    stream = InterruptedStream(asked(n=2))
    events = (STARTED, DECIDED, delta(1), delta(2, choice=1), delta(3), delta(choice=1, end=END))
    assert all(stream.note(event) for event in events)
    request = stream.next_request()
    assert (request.model, request.request_id, request.sampling.seed) == ("tiny", "r1", 5)
    assert request.sampling.max_tokens == 9
    assert request.continue_from == inference_pb2.ContinueFrom(
        answers=[
            inference_pb2.AnswerSoFar(token_ids=[1, 3]),
            inference_pb2.AnswerSoFar(token_ids=[2], end=END),
        ],
        decided=DECIDED.decided,
    )


def test_what_came_before_is_not_told_twice() -> None:
    stream = InterruptedStream(asked())
    assert [stream.note(event) for event in (STARTED, DECIDED, delta(1))] == [True] * 3
    assert [stream.note(event) for event in (STARTED, DECIDED, delta(2))] == [False, False, True]
    assert list(stream.next_request().continue_from.answers[0].token_ids) == [1, 2]


def test_a_request_that_goes_on_itself_goes_on_from_there() -> None:
    request = asked()
    request.continue_from.answers.add(token_ids=[7])
    stream = InterruptedStream(request)
    for event in (STARTED, delta(8)):
        stream.note(event)
    assert list(stream.next_request().continue_from.answers[0].token_ids) == [7, 8]


def test_the_request_of_the_caller_stays_as_it_is() -> None:
    request = asked()
    stream = InterruptedStream(request)
    for event in (STARTED, delta(1)):
        stream.note(event)
    stream.next_request()
    assert request == asked()
