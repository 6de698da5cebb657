"""From the body of an OpenAI request to the wire request that it means."""

from collections.abc import Sequence
from typing import TypeVar

from pydantic import ValidationError

from common.errors import InvalidRequestError
from protos.dvd.v1 import inference_pb2
from router.data_uri import read_data_uri
from router.openai_shapes import (
    ChatMessage,
    ChatRequest,
    CommonRequest,
    ImageContent,
    ImageUrl,
    ProcessorOptions,
    TextContent,
    TextRequest,
)
from router.resolution_options import WIRE_SCOPES

Shape = TypeVar("Shape", bound=CommonRequest)

# What OpenAI takes for the answer to a bare prompt where nothing is said.
DEFAULT_TEXT_TOKENS = 16
ROLES = {
    "system": inference_pb2.ROLE_SYSTEM,
    "developer": inference_pb2.ROLE_SYSTEM,
    "user": inference_pb2.ROLE_USER,
    "assistant": inference_pb2.ROLE_ASSISTANT,
}
DETAILS = {
    "auto": inference_pb2.IMAGE_DETAIL_UNSPECIFIED,
    "low": inference_pb2.IMAGE_DETAIL_LOW,
    "high": inference_pb2.IMAGE_DETAIL_HIGH,
}
# Steps that say which of several shapes was tried; that says nothing to the client.
TAGS, SCALARS = {"text", "image_url"}, {"str", "int", "float"}


def read_body(shape: type[Shape], body: bytes) -> Shape:
    """Read a body.

    Raises:
        InvalidRequestError: It is no JSON, or some field is missing, wrong or not supported.
    """
    try:
        asked = shape.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error) from error
    if asked.stream_options is not None and not asked.stream:
        raise InvalidRequestError("stream_options needs stream.", "stream_options")
    if isinstance(asked, ChatRequest) and asked.top_logprobs is not None and not asked.logprobs:
        raise InvalidRequestError("top_logprobs needs logprobs.", "top_logprobs")
    return asked


def _refusal(error: ValidationError) -> InvalidRequestError:
    """Name the field at fault, without the library's own words."""
    told = error.errors(include_url=False, include_context=False, include_input=False)
    # Of several shapes that were tried, the one that fitted furthest.
    first = max(told, key=lambda each: len(each["loc"]))
    field = _field(first["loc"])
    if first["type"] == "json_invalid":
        return InvalidRequestError("The body is not valid JSON.")
    if first["type"] == "extra_forbidden":
        return InvalidRequestError(f"{field} is not supported.", field)
    if first["type"] == "missing":
        return InvalidRequestError(f"{field} is missing.", field)
    if not field:
        return InvalidRequestError("The body must be a JSON object.")
    return InvalidRequestError(f"{field} has a type or value that is not supported.", field)


def _field(location: tuple[int | str, ...]) -> str:
    """Where a value stands: `messages[0].content[1].image_url.url`."""
    path, before = "", None
    for step in location:
        is_tag = isinstance(before, int) and step in TAGS
        if isinstance(step, int):
            path += f"[{step}]"
        elif not is_tag and step not in SCALARS and "[" not in step:
            path += f".{step}" if path else step
        before = step
    return path


def chat_request(asked: ChatRequest, request_id: str) -> Sequence[inference_pb2.GenerateRequest]:
    """Write what a chat means: one request.

    Args:
        asked: As it came.
        request_id: Name of the request.

    Raises:
        InvalidRequestError: A picture is not in the request.
    """
    limit, scope = asked.max_completion_tokens, asked.resolution_scope
    request = inference_pb2.GenerateRequest(
        request_id=request_id,
        model=asked.model,
        messages=[
            _message(message, f"messages[{index}]", asked.mm_processor_kwargs)
            for index, message in enumerate(asked.messages)
        ],
        sampling=_sampling(asked, asked.max_tokens if limit is None else limit),
        resolution_scope=None if scope is None else WIRE_SCOPES[scope],
        priority=asked.priority,
        resolution_relative_threshold=asked.resolution_relative_threshold,
        resolution_absolute_threshold=asked.resolution_absolute_threshold,
    )
    return [request]


def text_request(asked: TextRequest, request_id: str) -> Sequence[inference_pb2.GenerateRequest]:
    """Write what bare prompts mean: a request for each.

    Args:
        asked: As it came.
        request_id: Name of the request; of several, what their names begin with.
    """
    limit = asked.max_tokens
    sampling = _sampling(asked, DEFAULT_TEXT_TOKENS if limit is None else limit)
    prompts = asked.prompts
    return [
        inference_pb2.GenerateRequest(
            request_id=request_id if len(prompts) == 1 else f"{request_id}-{index}",
            model=asked.model,
            messages=[_bare(prompt)],
            sampling=sampling,
            priority=asked.priority,
        )
        for index, prompt in enumerate(prompts)
    ]


def _bare(prompt: str) -> inference_pb2.Message:
    part = inference_pb2.Part(text=prompt)
    return inference_pb2.Message(role=inference_pb2.ROLE_NOBODY, parts=[part])


def _message(
    message: ChatMessage, field: str, options: ProcessorOptions | None
) -> inference_pb2.Message:
    content: Sequence[TextContent | ImageContent]
    if isinstance(message.content, str):
        content = [TextContent(type="text", text=message.content)]
    else:
        content = message.content
    parts = [
        _part(part, f"{field}.content[{index}]", options) for index, part in enumerate(content)
    ]
    return inference_pb2.Message(role=ROLES[message.role], parts=parts)


def _part(
    part: TextContent | ImageContent, field: str, options: ProcessorOptions | None
) -> inference_pb2.Part:
    if isinstance(part, TextContent):
        return inference_pb2.Part(text=part.text)
    picture = read_data_uri(part.image_url.url, f"{field}.image_url.url")
    return inference_pb2.Part(
        image=inference_pb2.Image(
            data=picture.data,
            mime_type=picture.mime_type,
            max_tiles=_max_tiles(part.image_url, options),
            detail=DETAILS[part.image_url.detail],
        )
    )


def _max_tiles(image: ImageUrl, options: ProcessorOptions | None) -> int | None:
    """What one picture says, else what the request says of all pictures that say nothing."""
    if image.max_dynamic_patch is not None:
        return image.max_dynamic_patch
    if options is None or image.detail != "auto":
        return None
    return options.max_dynamic_patch if options.dynamic_image_size else 1


def _sampling(asked: CommonRequest, max_tokens: int | None) -> inference_pb2.SamplingParameters:
    return inference_pb2.SamplingParameters(
        max_tokens=max_tokens,
        temperature=asked.temperature,
        seed=asked.seed,
        top_p=asked.top_p,
        top_k=None if asked.top_k is None else max(asked.top_k, 0),
        min_p=asked.min_p,
        repetition_penalty=asked.repetition_penalty,
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
        stop=[asked.stop] if isinstance(asked.stop, str) else asked.stop,
        stop_token_ids=asked.stop_token_ids,
        logit_bias={int(token): bias for token, bias in asked.logit_bias.items()},
        ignore_eos=asked.ignore_eos,
        logprobs=asked.num_top_logprobs,
        n=asked.n,
    )
