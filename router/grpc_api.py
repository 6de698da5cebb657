"""The public gRPC door: wire in, events out, no decisions."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from common.rpc import RpcContext
from common.sampling_wire import WIRE_FINISH_REASONS, write_choice, write_stop
from protos.dvd.v1 import inference_pb2, inference_pb2_grpc
from router.answer import (
    AnswerDecided,
    AnswerFinished,
    AnswerStarted,
    AppliedResolution,
    ImageResolution,
    TokenLogprob,
    TokenLogprobs,
)
from router.front_door import Caller, FrontDoor
from router.language_client import AnswerDelta
from router.pipeline import AnswerEvent
from router.resolution_options import WIRE_SCOPES
from router.tenants import TENANT_HEADER

SERVICE_NAME = inference_pb2.DESCRIPTOR.services_by_name["InferenceService"].full_name


class InferenceServicer(inference_pb2_grpc.InferenceServiceServicer):
    """Serves one front door."""

    def __init__(self, door: FrontDoor) -> None:
        self._door = door

    async def Generate(
        self, request: inference_pb2.GenerateRequest, context: RpcContext
    ) -> AsyncIterator[inference_pb2.GenerateResponse]:
        """Answer one conversation."""
        async with aclosing(self._door.answer(request, caller_of(context))) as events:
            async for event in events:
                yield _response(event, self._door.model.name)

    async def GetModel(
        self, request: inference_pb2.GetModelRequest, context: RpcContext
    ) -> inference_pb2.GetModelResponse:
        """Describe the served model and the bounds."""
        model, config = self._door.model, self._door.config
        return inference_pb2.GetModelResponse(
            model=model.name,
            fingerprint=model.fingerprint,
            max_context_tokens=model.max_context_tokens,
            tile_size=model.config.tiling.tile_size,
            max_tiles_per_image=config.max_tiles_per_image or model.config.tiling.max_tiles,
            max_images_per_request=config.max_images_per_request,
            max_image_bytes=config.images.max_bytes,
            max_image_pixels=config.images.max_pixels,
            flash=model.config.thresholds is not None,
            full_tokens_per_tile=model.config.full_tokens_per_tile,
            compressed_tokens_per_tile=model.config.compressed_tokens_per_tile,
        )


def caller_of(context: RpcContext) -> Caller:
    """Who makes a call, by its metadata, and how long it may take."""
    metadata = context.invocation_metadata() or ()
    tenants = [str(value) for key, value in metadata if key == TENANT_HEADER]
    return Caller(tenants[0] if tenants else "", context.time_remaining())


def _response(event: AnswerEvent, model: str) -> inference_pb2.GenerateResponse:
    if isinstance(event, AnswerStarted):
        return inference_pb2.GenerateResponse(
            started=inference_pb2.GenerateStarted(
                request_id=event.request_id,
                model=model,
                seed=event.seed,
                image_tiles=event.image_tiles,
            )
        )
    if isinstance(event, AnswerDecided):
        return inference_pb2.GenerateResponse(
            decided=inference_pb2.GenerateDecided(
                images=[_image(image) for image in event.images],
                resolution=_applied(event.resolution),
            )
        )
    if isinstance(event, AnswerDelta):
        return inference_pb2.GenerateResponse(
            delta=inference_pb2.GenerateDelta(
                token_ids=event.token_ids,
                text=event.text,
                logprobs=[_logprobs(each) for each in event.logprobs],
                choice=event.choice,
                end=None if event.end is None else write_choice(event.end),
            )
        )
    return inference_pb2.GenerateResponse(finished=_finished(event))


def _logprobs(each: TokenLogprobs) -> inference_pb2.TokenLogprobs:
    return inference_pb2.TokenLogprobs(
        chosen=_logprob(each.chosen), top=[_logprob(token) for token in each.top]
    )


def _logprob(token: TokenLogprob) -> inference_pb2.TokenLogprob:
    return inference_pb2.TokenLogprob(
        token_id=token.token_id, text=token.text, logprob=token.logprob
    )


def _finished(event: AnswerFinished) -> inference_pb2.GenerateFinished:
    usage, seconds = event.usage, event.seconds
    return inference_pb2.GenerateFinished(
        finish_reason=WIRE_FINISH_REASONS[event.finish_reason],
        usage=inference_pb2.Usage(
            text_tokens=usage.text_tokens,
            visual_tokens=usage.visual_tokens,
            visual_tokens_before_resolution=usage.visual_tokens_before_resolution,
            tiles=usage.tiles,
            compressed_tiles=usage.compressed_tiles,
            completion_tokens=usage.completion_tokens,
            cached_tokens=usage.cached_tokens,
        ),
        timings=inference_pb2.StageTimings(
            queue_seconds=seconds.queue,
            preprocess_seconds=seconds.preprocess,
            vit_seconds=seconds.vit,
            gate_seconds=seconds.gate,
            project_seconds=seconds.project,
            transfer_seconds=seconds.transfer,
            prefill_seconds=seconds.prefill,
            decode_seconds=seconds.decode,
            time_to_first_token_seconds=seconds.time_to_first_token,
            total_seconds=seconds.total,
        ),
        images=[_image(image) for image in event.images],
        stop=write_stop(event.stop),
        choices=[write_choice(each) for each in event.choices],
        resolution=_applied(event.resolution),
    )


def _applied(resolution: AppliedResolution | None) -> inference_pb2.AppliedResolution | None:
    if resolution is None:
        return None
    return inference_pb2.AppliedResolution(
        scope=WIRE_SCOPES[resolution.scope],
        relative_threshold=resolution.thresholds.relative,
        absolute_threshold=resolution.thresholds.absolute,
        raised_for_load=resolution.is_raised,
    )


def _image(image: ImageResolution) -> inference_pb2.ImageResolution:
    return inference_pb2.ImageResolution(
        columns=image.grid.columns,
        rows=image.grid.rows,
        has_thumbnail=image.grid.has_thumbnail,
        scores=image.scores,
        compressed=image.compressed,
        orientation=image.orientation,
    )
