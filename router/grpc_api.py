"""The public gRPC door: wire in, events out, no decisions."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace

from common.config import RouterConfig
from common.errors import CancelledRequestError, DvdError, InvalidRequestError
from common.rpc import RpcContext, remaining_seconds
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
from router.deadline import Deadline
from router.language_client import AnswerDelta
from router.metrics import RouterMetrics
from router.pipeline import AnswerEvent, Pipeline
from router.resolution_options import WIRE_SCOPES
from router.standing import Standing
from router.tenants import MAX_TENANT_CHARACTERS, TENANT_HEADER
from router.validation import RequestValidator, ServedModel

SERVICE_NAME = inference_pb2.DESCRIPTOR.services_by_name["InferenceService"].full_name


class InferenceServicer(inference_pb2_grpc.InferenceServiceServicer):
    """Serves one pipeline."""

    def __init__(
        self,
        config: RouterConfig,
        model: ServedModel,
        pipeline: Pipeline,
        metrics: RouterMetrics,
    ) -> None:
        self._config = config
        self._model = model
        self._validator = RequestValidator(config, model)
        self._pipeline = pipeline
        self._metrics = metrics

    async def Generate(
        self, request: inference_pb2.GenerateRequest, context: RpcContext
    ) -> AsyncIterator[inference_pb2.GenerateResponse]:
        """Answer one conversation."""
        with self._counted():
            left = remaining_seconds(context)
            deadline = Deadline.after(left or self._config.default_deadline_seconds)
            tenant = tenant_of(context)
            # Looking at pictures takes time, which who is refused anyway should not cost others.
            self._pipeline.check(Standing(tenant, request.priority, deadline.remaining()))
            valid = await asyncio.to_thread(self._validator.validate, request)
            valid = replace(valid, tenant=tenant)
            # Closed here and not by the garbage collector, so that all is given back at once.
            async with aclosing(self._pipeline.answer(valid, deadline)) as events:
                async for event in events:
                    yield _response(event, self._model.name)
                    if isinstance(event, AnswerFinished):
                        self._note_finished(event)

    async def GetModel(
        self, request: inference_pb2.GetModelRequest, context: RpcContext
    ) -> inference_pb2.GetModelResponse:
        """Describe the served model and the bounds."""
        model, config = self._model, self._config
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

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count a request that ends without an answer."""
        status = DvdError.code.name
        try:
            yield
            status = ""
        except (asyncio.CancelledError, GeneratorExit):
            status = CancelledRequestError.code.name
            raise
        except DvdError as error:
            status = error.code.name
            raise
        finally:
            if status:
                self._metrics.requests.labels(status, "").inc()

    def _note_finished(self, event: AnswerFinished) -> None:
        self._metrics.requests.labels("OK", str(event.finish_reason)).inc()
        if event.resolution is not None and event.resolution.is_raised:
            self._metrics.raised_for_load.inc()
        self._metrics.resumptions.inc(event.num_resumptions)
        if event.usage.completion_tokens:
            self._metrics.time_to_first_token.observe(event.seconds.time_to_first_token)


def tenant_of(context: RpcContext) -> str:
    """On whose behalf a call is made, by its metadata; empty where that is not said.

    Raises:
        InvalidRequestError: The name cannot be one.
    """
    for key, value in context.invocation_metadata() or ():
        if key == TENANT_HEADER:
            name = str(value)
            if len(name) > MAX_TENANT_CHARACTERS or not (name.isascii() and name.isprintable()):
                raise InvalidRequestError(
                    f"A tenant has at most {MAX_TENANT_CHARACTERS} printable ASCII characters.",
                    TENANT_HEADER,
                )
            return name
    return ""


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
