from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ROLE_SYSTEM: _ClassVar[Role]
    ROLE_USER: _ClassVar[Role]
    ROLE_ASSISTANT: _ClassVar[Role]
    ROLE_NOBODY: _ClassVar[Role]

class ResolutionScope(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESOLUTION_SCOPE_UNSPECIFIED: _ClassVar[ResolutionScope]
    RESOLUTION_SCOPE_REQUEST: _ClassVar[ResolutionScope]
    RESOLUTION_SCOPE_IMAGE: _ClassVar[ResolutionScope]
    RESOLUTION_SCOPE_ABSOLUTE: _ClassVar[ResolutionScope]
    RESOLUTION_SCOPE_OFF: _ClassVar[ResolutionScope]

class FinishReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FINISH_REASON_UNSPECIFIED: _ClassVar[FinishReason]
    FINISH_REASON_STOP: _ClassVar[FinishReason]
    FINISH_REASON_LENGTH: _ClassVar[FinishReason]

class ImageDetail(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    IMAGE_DETAIL_UNSPECIFIED: _ClassVar[ImageDetail]
    IMAGE_DETAIL_LOW: _ClassVar[ImageDetail]
    IMAGE_DETAIL_HIGH: _ClassVar[ImageDetail]
ROLE_UNSPECIFIED: Role
ROLE_SYSTEM: Role
ROLE_USER: Role
ROLE_ASSISTANT: Role
ROLE_NOBODY: Role
RESOLUTION_SCOPE_UNSPECIFIED: ResolutionScope
RESOLUTION_SCOPE_REQUEST: ResolutionScope
RESOLUTION_SCOPE_IMAGE: ResolutionScope
RESOLUTION_SCOPE_ABSOLUTE: ResolutionScope
RESOLUTION_SCOPE_OFF: ResolutionScope
FINISH_REASON_UNSPECIFIED: FinishReason
FINISH_REASON_STOP: FinishReason
FINISH_REASON_LENGTH: FinishReason
IMAGE_DETAIL_UNSPECIFIED: ImageDetail
IMAGE_DETAIL_LOW: ImageDetail
IMAGE_DETAIL_HIGH: ImageDetail

class Image(_message.Message):
    __slots__ = ("data", "mime_type", "max_tiles", "detail")
    DATA_FIELD_NUMBER: _ClassVar[int]
    MIME_TYPE_FIELD_NUMBER: _ClassVar[int]
    MAX_TILES_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    mime_type: str
    max_tiles: int
    detail: ImageDetail
    def __init__(self, data: _Optional[bytes] = ..., mime_type: _Optional[str] = ..., max_tiles: _Optional[int] = ..., detail: _Optional[_Union[ImageDetail, str]] = ...) -> None: ...

class ImageGroup(_message.Message):
    __slots__ = ("images",)
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedCompositeFieldContainer[Image]
    def __init__(self, images: _Optional[_Iterable[_Union[Image, _Mapping]]] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("text", "image", "image_group")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    IMAGE_GROUP_FIELD_NUMBER: _ClassVar[int]
    text: str
    image: Image
    image_group: ImageGroup
    def __init__(self, text: _Optional[str] = ..., image: _Optional[_Union[Image, _Mapping]] = ..., image_group: _Optional[_Union[ImageGroup, _Mapping]] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("role", "parts")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    role: Role
    parts: _containers.RepeatedCompositeFieldContainer[Part]
    def __init__(self, role: _Optional[_Union[Role, str]] = ..., parts: _Optional[_Iterable[_Union[Part, _Mapping]]] = ...) -> None: ...

class SamplingParameters(_message.Message):
    __slots__ = ("max_tokens", "temperature", "seed", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "stop", "stop_token_ids", "logit_bias", "ignore_eos", "logprobs", "n")
    class LogitBiasEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: float
        def __init__(self, key: _Optional[int] = ..., value: _Optional[float] = ...) -> None: ...
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    MIN_P_FIELD_NUMBER: _ClassVar[int]
    REPETITION_PENALTY_FIELD_NUMBER: _ClassVar[int]
    PRESENCE_PENALTY_FIELD_NUMBER: _ClassVar[int]
    FREQUENCY_PENALTY_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    STOP_TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    LOGIT_BIAS_FIELD_NUMBER: _ClassVar[int]
    IGNORE_EOS_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    max_tokens: int
    temperature: float
    seed: int
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    stop: _containers.RepeatedScalarFieldContainer[str]
    stop_token_ids: _containers.RepeatedScalarFieldContainer[int]
    logit_bias: _containers.ScalarMap[int, float]
    ignore_eos: bool
    logprobs: int
    n: int
    def __init__(self, max_tokens: _Optional[int] = ..., temperature: _Optional[float] = ..., seed: _Optional[int] = ..., top_p: _Optional[float] = ..., top_k: _Optional[int] = ..., min_p: _Optional[float] = ..., repetition_penalty: _Optional[float] = ..., presence_penalty: _Optional[float] = ..., frequency_penalty: _Optional[float] = ..., stop: _Optional[_Iterable[str]] = ..., stop_token_ids: _Optional[_Iterable[int]] = ..., logit_bias: _Optional[_Mapping[int, float]] = ..., ignore_eos: _Optional[bool] = ..., logprobs: _Optional[int] = ..., n: _Optional[int] = ...) -> None: ...

class GenerateRequest(_message.Message):
    __slots__ = ("request_id", "model", "messages", "sampling", "resolution_scope", "priority", "resolution_relative_threshold", "resolution_absolute_threshold", "continue_from")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    RESOLUTION_SCOPE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    RESOLUTION_RELATIVE_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    RESOLUTION_ABSOLUTE_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    CONTINUE_FROM_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: str
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    sampling: SamplingParameters
    resolution_scope: ResolutionScope
    priority: int
    resolution_relative_threshold: float
    resolution_absolute_threshold: float
    continue_from: ContinueFrom
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., sampling: _Optional[_Union[SamplingParameters, _Mapping]] = ..., resolution_scope: _Optional[_Union[ResolutionScope, str]] = ..., priority: _Optional[int] = ..., resolution_relative_threshold: _Optional[float] = ..., resolution_absolute_threshold: _Optional[float] = ..., continue_from: _Optional[_Union[ContinueFrom, _Mapping]] = ...) -> None: ...

class AnswerSoFar(_message.Message):
    __slots__ = ("token_ids", "end")
    TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    token_ids: _containers.RepeatedScalarFieldContainer[int]
    end: ChoiceEnd
    def __init__(self, token_ids: _Optional[_Iterable[int]] = ..., end: _Optional[_Union[ChoiceEnd, _Mapping]] = ...) -> None: ...

class ContinueFrom(_message.Message):
    __slots__ = ("answers", "decided")
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    DECIDED_FIELD_NUMBER: _ClassVar[int]
    answers: _containers.RepeatedCompositeFieldContainer[AnswerSoFar]
    decided: GenerateDecided
    def __init__(self, answers: _Optional[_Iterable[_Union[AnswerSoFar, _Mapping]]] = ..., decided: _Optional[_Union[GenerateDecided, _Mapping]] = ...) -> None: ...

class ImageResolution(_message.Message):
    __slots__ = ("columns", "rows", "has_thumbnail", "scores", "compressed", "orientation")
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    HAS_THUMBNAIL_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    COMPRESSED_FIELD_NUMBER: _ClassVar[int]
    ORIENTATION_FIELD_NUMBER: _ClassVar[int]
    columns: int
    rows: int
    has_thumbnail: bool
    scores: _containers.RepeatedScalarFieldContainer[float]
    compressed: _containers.RepeatedScalarFieldContainer[bool]
    orientation: int
    def __init__(self, columns: _Optional[int] = ..., rows: _Optional[int] = ..., has_thumbnail: _Optional[bool] = ..., scores: _Optional[_Iterable[float]] = ..., compressed: _Optional[_Iterable[bool]] = ..., orientation: _Optional[int] = ...) -> None: ...

class AppliedResolution(_message.Message):
    __slots__ = ("scope", "relative_threshold", "absolute_threshold", "raised_for_load")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    RELATIVE_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    ABSOLUTE_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    RAISED_FOR_LOAD_FIELD_NUMBER: _ClassVar[int]
    scope: ResolutionScope
    relative_threshold: float
    absolute_threshold: float
    raised_for_load: bool
    def __init__(self, scope: _Optional[_Union[ResolutionScope, str]] = ..., relative_threshold: _Optional[float] = ..., absolute_threshold: _Optional[float] = ..., raised_for_load: _Optional[bool] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("text_tokens", "visual_tokens", "visual_tokens_before_resolution", "tiles", "compressed_tiles", "completion_tokens", "cached_tokens")
    TEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    VISUAL_TOKENS_FIELD_NUMBER: _ClassVar[int]
    VISUAL_TOKENS_BEFORE_RESOLUTION_FIELD_NUMBER: _ClassVar[int]
    TILES_FIELD_NUMBER: _ClassVar[int]
    COMPRESSED_TILES_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    text_tokens: int
    visual_tokens: int
    visual_tokens_before_resolution: int
    tiles: int
    compressed_tiles: int
    completion_tokens: int
    cached_tokens: int
    def __init__(self, text_tokens: _Optional[int] = ..., visual_tokens: _Optional[int] = ..., visual_tokens_before_resolution: _Optional[int] = ..., tiles: _Optional[int] = ..., compressed_tiles: _Optional[int] = ..., completion_tokens: _Optional[int] = ..., cached_tokens: _Optional[int] = ...) -> None: ...

class StageTimings(_message.Message):
    __slots__ = ("queue_seconds", "preprocess_seconds", "vit_seconds", "gate_seconds", "project_seconds", "transfer_seconds", "prefill_seconds", "decode_seconds", "time_to_first_token_seconds", "total_seconds")
    QUEUE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PREPROCESS_SECONDS_FIELD_NUMBER: _ClassVar[int]
    VIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    GATE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PROJECT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PREFILL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DECODE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TIME_TO_FIRST_TOKEN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    queue_seconds: float
    preprocess_seconds: float
    vit_seconds: float
    gate_seconds: float
    project_seconds: float
    transfer_seconds: float
    prefill_seconds: float
    decode_seconds: float
    time_to_first_token_seconds: float
    total_seconds: float
    def __init__(self, queue_seconds: _Optional[float] = ..., preprocess_seconds: _Optional[float] = ..., vit_seconds: _Optional[float] = ..., gate_seconds: _Optional[float] = ..., project_seconds: _Optional[float] = ..., transfer_seconds: _Optional[float] = ..., prefill_seconds: _Optional[float] = ..., decode_seconds: _Optional[float] = ..., time_to_first_token_seconds: _Optional[float] = ..., total_seconds: _Optional[float] = ...) -> None: ...

class GenerateStarted(_message.Message):
    __slots__ = ("request_id", "model", "seed", "image_tiles")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    IMAGE_TILES_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: str
    seed: int
    image_tiles: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[str] = ..., seed: _Optional[int] = ..., image_tiles: _Optional[_Iterable[int]] = ...) -> None: ...

class GenerateDecided(_message.Message):
    __slots__ = ("images", "resolution")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    RESOLUTION_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedCompositeFieldContainer[ImageResolution]
    resolution: AppliedResolution
    def __init__(self, images: _Optional[_Iterable[_Union[ImageResolution, _Mapping]]] = ..., resolution: _Optional[_Union[AppliedResolution, _Mapping]] = ...) -> None: ...

class TokenLogprob(_message.Message):
    __slots__ = ("token_id", "text", "logprob")
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LOGPROB_FIELD_NUMBER: _ClassVar[int]
    token_id: int
    text: str
    logprob: float
    def __init__(self, token_id: _Optional[int] = ..., text: _Optional[str] = ..., logprob: _Optional[float] = ...) -> None: ...

class TokenLogprobs(_message.Message):
    __slots__ = ("chosen", "top")
    CHOSEN_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    chosen: TokenLogprob
    top: _containers.RepeatedCompositeFieldContainer[TokenLogprob]
    def __init__(self, chosen: _Optional[_Union[TokenLogprob, _Mapping]] = ..., top: _Optional[_Iterable[_Union[TokenLogprob, _Mapping]]] = ...) -> None: ...

class GenerateDelta(_message.Message):
    __slots__ = ("token_ids", "text", "logprobs", "choice", "end")
    TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    CHOICE_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    token_ids: _containers.RepeatedScalarFieldContainer[int]
    text: str
    logprobs: _containers.RepeatedCompositeFieldContainer[TokenLogprobs]
    choice: int
    end: ChoiceEnd
    def __init__(self, token_ids: _Optional[_Iterable[int]] = ..., text: _Optional[str] = ..., logprobs: _Optional[_Iterable[_Union[TokenLogprobs, _Mapping]]] = ..., choice: _Optional[int] = ..., end: _Optional[_Union[ChoiceEnd, _Mapping]] = ...) -> None: ...

class StopMatch(_message.Message):
    __slots__ = ("text", "token_id")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    text: str
    token_id: int
    def __init__(self, text: _Optional[str] = ..., token_id: _Optional[int] = ...) -> None: ...

class ChoiceEnd(_message.Message):
    __slots__ = ("finish_reason", "stop", "completion_tokens")
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    finish_reason: FinishReason
    stop: StopMatch
    completion_tokens: int
    def __init__(self, finish_reason: _Optional[_Union[FinishReason, str]] = ..., stop: _Optional[_Union[StopMatch, _Mapping]] = ..., completion_tokens: _Optional[int] = ...) -> None: ...

class GenerateFinished(_message.Message):
    __slots__ = ("finish_reason", "usage", "timings", "images", "stop", "choices", "resolution")
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    RESOLUTION_FIELD_NUMBER: _ClassVar[int]
    finish_reason: FinishReason
    usage: Usage
    timings: StageTimings
    images: _containers.RepeatedCompositeFieldContainer[ImageResolution]
    stop: StopMatch
    choices: _containers.RepeatedCompositeFieldContainer[ChoiceEnd]
    resolution: AppliedResolution
    def __init__(self, finish_reason: _Optional[_Union[FinishReason, str]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., timings: _Optional[_Union[StageTimings, _Mapping]] = ..., images: _Optional[_Iterable[_Union[ImageResolution, _Mapping]]] = ..., stop: _Optional[_Union[StopMatch, _Mapping]] = ..., choices: _Optional[_Iterable[_Union[ChoiceEnd, _Mapping]]] = ..., resolution: _Optional[_Union[AppliedResolution, _Mapping]] = ...) -> None: ...

class GenerateResponse(_message.Message):
    __slots__ = ("started", "delta", "finished", "decided")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    DECIDED_FIELD_NUMBER: _ClassVar[int]
    started: GenerateStarted
    delta: GenerateDelta
    finished: GenerateFinished
    decided: GenerateDecided
    def __init__(self, started: _Optional[_Union[GenerateStarted, _Mapping]] = ..., delta: _Optional[_Union[GenerateDelta, _Mapping]] = ..., finished: _Optional[_Union[GenerateFinished, _Mapping]] = ..., decided: _Optional[_Union[GenerateDecided, _Mapping]] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("model", "fingerprint", "max_context_tokens", "tile_size", "max_tiles_per_image", "max_images_per_request", "max_image_bytes", "max_image_pixels", "flash", "full_tokens_per_tile", "compressed_tokens_per_tile")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    MAX_CONTEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TILE_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_TILES_PER_IMAGE_FIELD_NUMBER: _ClassVar[int]
    MAX_IMAGES_PER_REQUEST_FIELD_NUMBER: _ClassVar[int]
    MAX_IMAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_IMAGE_PIXELS_FIELD_NUMBER: _ClassVar[int]
    FLASH_FIELD_NUMBER: _ClassVar[int]
    FULL_TOKENS_PER_TILE_FIELD_NUMBER: _ClassVar[int]
    COMPRESSED_TOKENS_PER_TILE_FIELD_NUMBER: _ClassVar[int]
    model: str
    fingerprint: str
    max_context_tokens: int
    tile_size: int
    max_tiles_per_image: int
    max_images_per_request: int
    max_image_bytes: int
    max_image_pixels: int
    flash: bool
    full_tokens_per_tile: int
    compressed_tokens_per_tile: int
    def __init__(self, model: _Optional[str] = ..., fingerprint: _Optional[str] = ..., max_context_tokens: _Optional[int] = ..., tile_size: _Optional[int] = ..., max_tiles_per_image: _Optional[int] = ..., max_images_per_request: _Optional[int] = ..., max_image_bytes: _Optional[int] = ..., max_image_pixels: _Optional[int] = ..., flash: _Optional[bool] = ..., full_tokens_per_tile: _Optional[int] = ..., compressed_tokens_per_tile: _Optional[int] = ...) -> None: ...
