"""What an OpenAI client sends, as JSON: shapes alone.

Bounds are checked once, behind both doors, in `router.validation`. A field that is not understood
is refused by its name: a client that asks for tools and gets plain text has been lied to. As with
OpenAI, null means not given; and what asks for nothing, such as no tools, may stand.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)

from common.types import ResolutionScope
from router.sampling import MAX_CHOICES

# Every number fits its field on the wire; which of them make sense is decided behind the door.
Number = Annotated[StrictFloat | StrictInt, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
Count = Annotated[StrictInt, Field(ge=0, le=2**32 - 1)]
TokenId = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
DetailName = Literal["auto", "low", "high"]
Nothing = Annotated[list[None], Field(max_length=0)]


MAX_PROMPTS = 64


class OpenAiShape(BaseModel):
    """Base of all shapes: nothing is converted, nothing is ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        if isinstance(given, Mapping):
            return {name: value for name, value in given.items() if value is not None}
        return given


class ImageUrl(OpenAiShape):
    """A picture.

    Attributes:
        url: A `data:` URI with base64.
        detail: How finely it is looked at.
        max_dynamic_patch: Most tiles, thumbnail not counted, as LMDeploy names it.
    """

    url: StrictStr
    detail: DetailName = "auto"
    max_dynamic_patch: Count | None = None


class TextContent(OpenAiShape):
    """A piece of text."""

    type: Literal["text"]
    text: StrictStr


class ImageContent(OpenAiShape):
    """A picture between pieces of text."""

    type: Literal["image_url"]
    image_url: ImageUrl


Content = Annotated[TextContent | ImageContent, Field(discriminator="type")]


class ChatMessage(OpenAiShape):
    """One turn, or an answer given back as it came.

    `name` has no effect, as the models know no names.
    """

    role: Literal["system", "developer", "user", "assistant"]
    content: StrictStr | list[Content]
    name: StrictStr | None = None
    annotations: Nothing | None = None
    tool_calls: Nothing | None = None


class StreamOptions(OpenAiShape):
    """What a stream tells beside the answer."""

    include_usage: StrictBool = False
    include_obfuscation: Literal[False] = False
    continuous_usage_stats: Literal[False] = False


class ResponseFormat(OpenAiShape):
    """Plain text alone."""

    type: Literal["text"]


class ProcessorOptions(OpenAiShape):
    """How every picture of the request is cut, as vLLM and LMDeploy name it.

    Attributes:
        max_dynamic_patch: Most tiles of a picture that sets none itself.
        dynamic_image_size: False makes every picture one tile.
    """

    max_dynamic_patch: Count | None = None
    dynamic_image_size: StrictBool = True


class CommonRequest(OpenAiShape, ABC):
    """What both kinds of completion take.

    The fields from `top_k` on are not OpenAI's own but those that other servers have. `user` and
    the two after it have no effect.
    """

    model: StrictStr = ""
    stream: StrictBool = False
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    n: Annotated[StrictInt, Field(ge=1, le=MAX_CHOICES)] | None = None
    stop: StrictStr | list[StrictStr] | None = None
    seed: Annotated[StrictInt, Field(ge=0, le=2**63 - 1)] | None = None
    presence_penalty: Number = 0
    frequency_penalty: Number = 0
    logit_bias: dict[TokenId, Number] = Field(default_factory=dict)
    user: StrictStr | None = None
    safety_identifier: StrictStr | None = None
    prompt_cache_key: StrictStr | None = None
    top_k: Annotated[StrictInt, Field(ge=-1, le=2**31)] | None = None
    min_p: Number | None = None
    repetition_penalty: Number | None = None
    stop_token_ids: list[Count] = Field(default_factory=list)
    ignore_eos: StrictBool = False
    skip_special_tokens: Literal[True] = True
    priority: Annotated[StrictInt, Field(ge=-(2**31), le=2**31 - 1)] = 0

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with what the request used."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def num_choices(self) -> int:
        """Answers to give to the same prompt."""
        return 1 if self.n is None else self.n

    @property
    @abstractmethod
    def num_top_logprobs(self) -> int | None:
        """Likeliest tokens to tell at each place; None for no log probabilities at all."""


class ChatRequest(CommonRequest):
    """The body of `POST /v1/chat/completions`; the last three are the resolution router's own."""

    messages: list[ChatMessage]
    max_completion_tokens: Count | None = None
    logprobs: StrictBool = False
    top_logprobs: Count | None = None
    response_format: ResponseFormat | None = None
    modalities: list[Literal["text"]] | None = None
    store: Literal[False] = False
    service_tier: Literal["auto", "default"] | None = None
    tools: Nothing | None = None
    tool_choice: Literal["none", "auto"] | None = None
    mm_processor_kwargs: ProcessorOptions | None = None
    resolution_scope: ResolutionScope | None = None
    resolution_relative_threshold: Number | None = None
    resolution_absolute_threshold: Number | None = None

    @property
    def num_top_logprobs(self) -> int | None:
        """Likeliest tokens to tell at each place; None for no log probabilities at all."""
        return (self.top_logprobs or 0) if self.logprobs else None


class TextRequest(CommonRequest):
    """The body of `POST /v1/completions`: text that is continued as it stands."""

    prompt: StrictStr | Annotated[list[StrictStr], Field(min_length=1, max_length=MAX_PROMPTS)]
    logprobs: Count | None = None
    echo: Literal[False] = False
    best_of: Literal[1] = 1
    suffix: Literal[""] = ""

    @property
    def prompts(self) -> list[str]:
        """The prompts, in order."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    @property
    def num_top_logprobs(self) -> int | None:
        """Likeliest tokens to tell at each place; None for no log probabilities at all."""
        return self.logprobs
