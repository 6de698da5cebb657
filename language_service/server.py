"""The gRPC face of a language replica: translates, and leaves every decision to others."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import grpc

from common.load_watch import watch_load
from common.rpc import RpcContext, remaining_seconds
from common.sampling_wire import WIRE_FINISH_REASONS, write_choice, write_stop
from common.stream_codec import StreamMessage, decode_message
from language_service.answering import Accepted, Answered, Answerer, AnswerEvent
from language_service.engine import LanguageEngine
from language_service.inbox import Inbox
from language_service.logprobs import TokenLogprob, TokenLogprobs
from language_service.metrics import LanguageMetrics
from language_service.receiver import EmbeddingReceiver
from language_service.requests import read_request
from protos.dvd.v1 import (
    embedding_pb2,
    inference_pb2,
    language_pb2,
    language_pb2_grpc,
    replica_pb2,
)

SERVICE_NAME = language_pb2.DESCRIPTOR.services_by_name["LanguageService"].full_name


class LanguageServicer(language_pb2_grpc.LanguageServiceServicer):
    """Serves one engine and one inbox."""

    def __init__(
        self,
        info: replica_pb2.ServerInfo,
        answerer: Answerer,
        inbox: Inbox,
        receiver: EmbeddingReceiver,
        engine: LanguageEngine,
        metrics: LanguageMetrics,
    ) -> None:
        self._info = info
        self._answerer = answerer
        self._inbox = inbox
        self._receiver = receiver
        self._engine = engine
        self._metrics = metrics

    async def GetServerInfo(
        self,
        request: language_pb2.LanguageServiceGetServerInfoRequest,
        context: RpcContext,
    ) -> language_pb2.LanguageServiceGetServerInfoResponse:
        """Tell which model is served."""
        return language_pb2.LanguageServiceGetServerInfoResponse(info=self._info)

    async def Generate(
        self,
        request: language_pb2.LanguageServiceGenerateRequest,
        context: RpcContext,
    ) -> AsyncIterator[language_pb2.LanguageServiceGenerateResponse]:
        """Answer one request."""
        answer = self._answerer.answer(read_request(request), remaining_seconds(context))
        async with aclosing(answer) as events:
            async for event in events:
                yield self._event(event)

    async def PutEmbeddings(  # type: ignore[override]  # our codec reads the requests
        self, request: AsyncIterator[StreamMessage], context: RpcContext
    ) -> AsyncIterator[embedding_pb2.PutEmbeddingsResponse]:
        """Receive one picture's embedding."""
        async with aclosing(self._receiver.receive(aiter(request))) as responses:
            async for response in responses:
                self._metrics.embedding_bytes.labels("received").inc(response.committed.num_bytes)
                yield response

    async def WatchLoad(
        self,
        request: language_pb2.LanguageServiceWatchLoadRequest,
        context: RpcContext,
    ) -> AsyncIterator[language_pb2.LanguageServiceWatchLoadResponse]:
        """Report load until the caller goes away."""
        async for load in watch_load(self._load):
            yield language_pb2.LanguageServiceWatchLoadResponse(load=load)

    def _load(self) -> replica_pb2.LoadReport:
        return replica_pb2.LoadReport(
            running_requests=self._engine.running_requests,
            waiting_requests=self._engine.waiting_requests + self._inbox.waiting_requests,
            outstanding_work=self._engine.outstanding_tokens,
            completed_work=self._engine.stats.num_computed_tokens,
            busy_seconds=self._engine.forward_seconds,
        )

    def _event(self, event: AnswerEvent) -> language_pb2.LanguageServiceGenerateResponse:
        if isinstance(event, Accepted):
            return language_pb2.LanguageServiceGenerateResponse(
                accepted=language_pb2.GenerateAccepted(
                    needed_images=event.needed_images, queue_seconds=event.queue_seconds
                )
            )
        if isinstance(event, Answered):
            return language_pb2.LanguageServiceGenerateResponse(finished=self._finished(event))
        self._metrics.num_generated_tokens += len(event.token_ids)
        return language_pb2.LanguageServiceGenerateResponse(
            delta=inference_pb2.GenerateDelta(
                token_ids=event.token_ids,
                text=event.text,
                logprobs=[self._logprobs(each) for each in event.logprobs],
                choice=event.choice,
                end=None if event.end is None else write_choice(event.end),
            )
        )

    def _logprobs(self, each: TokenLogprobs) -> inference_pb2.TokenLogprobs:
        return inference_pb2.TokenLogprobs(
            chosen=self._logprob(each.chosen), top=[self._logprob(token) for token in each.top]
        )

    def _logprob(self, token: TokenLogprob) -> inference_pb2.TokenLogprob:
        return inference_pb2.TokenLogprob(
            token_id=token.token_id,
            text=self._answerer.token_text(token.token_id),
            logprob=token.logprob,
        )

    def _finished(self, answered: Answered) -> language_pb2.LanguageFinished:
        first, choices = answered.choices[0], answered.choices
        num_completion_tokens = sum(each.num_completion_tokens for each in choices)
        self._metrics.prompt_tokens.labels("text").inc(answered.num_text_tokens)
        self._metrics.prompt_tokens.labels("image").inc(answered.num_visual_tokens)
        for choice in choices:
            self._metrics.note_answer(choice)
        return language_pb2.LanguageFinished(
            finish_reason=WIRE_FINISH_REASONS[first.finish_reason],
            text_tokens=answered.num_text_tokens,
            visual_tokens=answered.num_visual_tokens,
            completion_tokens=num_completion_tokens,
            queue_seconds=first.queue_seconds,
            prefill_seconds=first.prefill_seconds,
            decode_seconds=max(each.decode_seconds for each in choices),
            stop=write_stop(first.stop),
            cached_tokens=first.num_cached_tokens,
            choices=[write_choice(each.end) for each in choices] if len(choices) > 1 else [],
        )


def add_language_service(
    servicer: language_pb2_grpc.LanguageServiceServicer, server: grpc.aio.Server
) -> None:
    """Serve on a server; embedding streams are read by our own codec."""
    language_pb2_grpc.add_LanguageServiceServicer_to_server(servicer, server)
    server.add_registered_method_handlers(
        SERVICE_NAME,
        {
            "PutEmbeddings": grpc.stream_stream_rpc_method_handler(
                servicer.PutEmbeddings,
                decode_message,
                embedding_pb2.PutEmbeddingsResponse.SerializeToString,
            )
        },
    )
