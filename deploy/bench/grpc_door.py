"""The public gRPC door, for a load."""

from collections.abc import AsyncIterator

from common.types import Role
from deploy.bench.door import Delta, Ended, Question, Said, StageSeconds, TokenUse
from deploy.client import InferenceClient
from protos.dvd.v1 import inference_pb2

ROLES = {
    Role.SYSTEM: inference_pb2.ROLE_SYSTEM,
    Role.USER: inference_pb2.ROLE_USER,
    Role.ASSISTANT: inference_pb2.ROLE_ASSISTANT,
}


class GrpcDoor:
    """Asks one router, or several, over gRPC.

    Args:
        addresses: Their `host:port`s.
        api_key: Shown to them; empty for none.
    """

    def __init__(self, *addresses: str, api_key: str = "") -> None:
        self._client = InferenceClient(*addresses, api_key=api_key)

    @property
    def num_retries(self) -> int:
        """How often a request had to be asked again so far."""
        return self._client.num_resends

    async def model_name(self) -> str:
        """Ask what is served."""
        return (await self._client.model()).model

    async def ask(self, question: Question) -> AsyncIterator[Delta | Ended]:
        """Answer a request."""
        async for response in self._client.stream(_request(question), question.timeout_seconds):
            if response.HasField("delta"):
                yield Delta(response.delta.text, len(response.delta.token_ids))
            elif response.HasField("finished"):
                yield Ended(_use(response.finished), _stages(response.finished))

    async def close(self) -> None:
        """Close the channels."""
        await self._client.close()


def _request(question: Question) -> inference_pb2.GenerateRequest:
    return inference_pb2.GenerateRequest(
        messages=[_message(said) for said in question.messages],
        sampling=inference_pb2.SamplingParameters(
            max_tokens=question.max_tokens,
            temperature=question.temperature,
            ignore_eos=question.ignore_eos,
        ),
    )


def _message(said: Said) -> inference_pb2.Message:
    parts = [
        inference_pb2.Part(
            image=inference_pb2.Image(data=picture.data, mime_type=picture.mime_type)
        )
        for picture in said.pictures
    ]
    parts.append(inference_pb2.Part(text=said.text))
    return inference_pb2.Message(role=ROLES[said.role], parts=parts)


def _use(finished: inference_pb2.GenerateFinished) -> TokenUse:
    usage = finished.usage
    return TokenUse(
        text_tokens=usage.text_tokens,
        visual_tokens=usage.visual_tokens,
        visual_tokens_before=usage.visual_tokens_before_resolution,
        tiles=usage.tiles,
        compressed_tiles=usage.compressed_tiles,
        cached_tokens=usage.cached_tokens,
        output_tokens=usage.completion_tokens,
    )


def _stages(finished: inference_pb2.GenerateFinished) -> StageSeconds:
    timings = finished.timings
    return StageSeconds(
        queue=timings.queue_seconds,
        preprocess=timings.preprocess_seconds,
        vit=timings.vit_seconds,
        gate=timings.gate_seconds,
        project=timings.project_seconds,
        transfer=timings.transfer_seconds,
        prefill=timings.prefill_seconds,
        decode=timings.decode_seconds,
    )
