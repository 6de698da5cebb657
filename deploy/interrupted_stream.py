"""What a client has of an answer, and the request that has any router go on behind it.

A router keeps nothing that its clients do not have: with the seed, the masks and the tokens that it
was told, a client can lose it mid answer and go on at another.
"""

from protos.dvd.v1 import inference_pb2


class InterruptedStream:
    """One answer over several streams.

    Args:
        request: As it was asked first.
    """

    def __init__(self, request: inference_pb2.GenerateRequest) -> None:
        self._asked = request
        self._started: inference_pb2.GenerateStarted | None = None
        self._so_far = inference_pb2.ContinueFrom()
        self._so_far.CopyFrom(request.continue_from)
        if not request.HasField("continue_from"):
            num_answers = max(request.sampling.n, 1)
            self._so_far.answers.extend(inference_pb2.AnswerSoFar() for _ in range(num_answers))

    @property
    def has_begun(self) -> bool:
        """Whether a router has admitted it."""
        return self._started is not None

    def note(self, response: inference_pb2.GenerateResponse) -> bool:
        """Take note of an event; whether the caller has not had it yet."""
        if response.HasField("started"):
            is_new = self._started is None
            self._started = self._started or response.started
            return is_new
        if response.HasField("decided"):
            is_new = not self._so_far.HasField("decided")
            self._so_far.decided.CopyFrom(response.decided)
            return is_new
        if response.HasField("delta"):
            answer = self._so_far.answers[response.delta.choice]
            answer.token_ids.extend(response.delta.token_ids)
            if response.delta.HasField("end"):
                answer.end.CopyFrom(response.delta.end)
        return True

    def next_request(self) -> inference_pb2.GenerateRequest:
        """What to ask the next router for: the whole answer, or the rest of it."""
        if self._started is None:
            return self._asked
        request = inference_pb2.GenerateRequest()
        request.CopyFrom(self._asked)
        request.request_id = self._started.request_id
        request.sampling.seed = self._started.seed
        request.continue_from.CopyFrom(self._so_far)
        return request
