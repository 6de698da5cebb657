from protos.dvd.v1 import embedding_pb2 as _embedding_pb2
from protos.dvd.v1 import inference_pb2 as _inference_pb2
from protos.dvd.v1 import replica_pb2 as _replica_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LanguageServiceGetServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LanguageServiceGetServerInfoResponse(_message.Message):
    __slots__ = ("info",)
    INFO_FIELD_NUMBER: _ClassVar[int]
    info: _replica_pb2.ServerInfo
    def __init__(self, info: _Optional[_Union[_replica_pb2.ServerInfo, _Mapping]] = ...) -> None: ...

class PromptImageResolution(_message.Message):
    __slots__ = ("compressed",)
    COMPRESSED_FIELD_NUMBER: _ClassVar[int]
    compressed: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, compressed: _Optional[_Iterable[bool]] = ...) -> None: ...

class PromptImage(_message.Message):
    __slots__ = ("image_key", "num_tiles", "resolution")
    IMAGE_KEY_FIELD_NUMBER: _ClassVar[int]
    NUM_TILES_FIELD_NUMBER: _ClassVar[int]
    RESOLUTION_FIELD_NUMBER: _ClassVar[int]
    image_key: bytes
    num_tiles: int
    resolution: PromptImageResolution
    def __init__(self, image_key: _Optional[bytes] = ..., num_tiles: _Optional[int] = ..., resolution: _Optional[_Union[PromptImageResolution, _Mapping]] = ...) -> None: ...

class PromptImageGroup(_message.Message):
    __slots__ = ("images",)
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedCompositeFieldContainer[PromptImage]
    def __init__(self, images: _Optional[_Iterable[_Union[PromptImage, _Mapping]]] = ...) -> None: ...

class PromptPart(_message.Message):
    __slots__ = ("text", "image_group")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_GROUP_FIELD_NUMBER: _ClassVar[int]
    text: str
    image_group: PromptImageGroup
    def __init__(self, text: _Optional[str] = ..., image_group: _Optional[_Union[PromptImageGroup, _Mapping]] = ...) -> None: ...

class PromptMessage(_message.Message):
    __slots__ = ("role", "parts")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    role: _inference_pb2.Role
    parts: _containers.RepeatedCompositeFieldContainer[PromptPart]
    def __init__(self, role: _Optional[_Union[_inference_pb2.Role, str]] = ..., parts: _Optional[_Iterable[_Union[PromptPart, _Mapping]]] = ...) -> None: ...

class LanguageServiceGenerateRequest(_message.Message):
    __slots__ = ("request_id", "messages", "sampling", "model_fingerprint", "priority", "continue_from")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    MODEL_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    CONTINUE_FROM_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    messages: _containers.RepeatedCompositeFieldContainer[PromptMessage]
    sampling: _inference_pb2.SamplingParameters
    model_fingerprint: str
    priority: int
    continue_from: _containers.RepeatedCompositeFieldContainer[_inference_pb2.AnswerSoFar]
    def __init__(self, request_id: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[PromptMessage, _Mapping]]] = ..., sampling: _Optional[_Union[_inference_pb2.SamplingParameters, _Mapping]] = ..., model_fingerprint: _Optional[str] = ..., priority: _Optional[int] = ..., continue_from: _Optional[_Iterable[_Union[_inference_pb2.AnswerSoFar, _Mapping]]] = ...) -> None: ...

class GenerateAccepted(_message.Message):
    __slots__ = ("needed_images", "queue_seconds")
    NEEDED_IMAGES_FIELD_NUMBER: _ClassVar[int]
    QUEUE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    needed_images: _containers.RepeatedScalarFieldContainer[int]
    queue_seconds: float
    def __init__(self, needed_images: _Optional[_Iterable[int]] = ..., queue_seconds: _Optional[float] = ...) -> None: ...

class LanguageFinished(_message.Message):
    __slots__ = ("finish_reason", "text_tokens", "visual_tokens", "completion_tokens", "queue_seconds", "prefill_seconds", "decode_seconds", "stop", "cached_tokens", "choices")
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    TEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    VISUAL_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PREFILL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DECODE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    finish_reason: _inference_pb2.FinishReason
    text_tokens: int
    visual_tokens: int
    completion_tokens: int
    queue_seconds: float
    prefill_seconds: float
    decode_seconds: float
    stop: _inference_pb2.StopMatch
    cached_tokens: int
    choices: _containers.RepeatedCompositeFieldContainer[_inference_pb2.ChoiceEnd]
    def __init__(self, finish_reason: _Optional[_Union[_inference_pb2.FinishReason, str]] = ..., text_tokens: _Optional[int] = ..., visual_tokens: _Optional[int] = ..., completion_tokens: _Optional[int] = ..., queue_seconds: _Optional[float] = ..., prefill_seconds: _Optional[float] = ..., decode_seconds: _Optional[float] = ..., stop: _Optional[_Union[_inference_pb2.StopMatch, _Mapping]] = ..., cached_tokens: _Optional[int] = ..., choices: _Optional[_Iterable[_Union[_inference_pb2.ChoiceEnd, _Mapping]]] = ...) -> None: ...

class LanguageServiceGenerateResponse(_message.Message):
    __slots__ = ("accepted", "delta", "finished")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    accepted: GenerateAccepted
    delta: _inference_pb2.GenerateDelta
    finished: LanguageFinished
    def __init__(self, accepted: _Optional[_Union[GenerateAccepted, _Mapping]] = ..., delta: _Optional[_Union[_inference_pb2.GenerateDelta, _Mapping]] = ..., finished: _Optional[_Union[LanguageFinished, _Mapping]] = ...) -> None: ...

class LanguageServiceWatchLoadRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LanguageServiceWatchLoadResponse(_message.Message):
    __slots__ = ("load",)
    LOAD_FIELD_NUMBER: _ClassVar[int]
    load: _replica_pb2.LoadReport
    def __init__(self, load: _Optional[_Union[_replica_pb2.LoadReport, _Mapping]] = ...) -> None: ...
