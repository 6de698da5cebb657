from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    D_TYPE_UNSPECIFIED: _ClassVar[DType]
    D_TYPE_FLOAT32: _ClassVar[DType]
    D_TYPE_BFLOAT16: _ClassVar[DType]
D_TYPE_UNSPECIFIED: DType
D_TYPE_FLOAT32: DType
D_TYPE_BFLOAT16: DType

class EmbeddingSlot(_message.Message):
    __slots__ = ("request_id", "image_index", "attempt", "repeat")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    IMAGE_INDEX_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    REPEAT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    image_index: int
    attempt: int
    repeat: int
    def __init__(self, request_id: _Optional[str] = ..., image_index: _Optional[int] = ..., attempt: _Optional[int] = ..., repeat: _Optional[int] = ...) -> None: ...

class EmbeddingManifest(_message.Message):
    __slots__ = ("slot", "image_key", "model_fingerprint", "dtype", "hidden_size", "tile_tokens", "num_bytes")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_KEY_FIELD_NUMBER: _ClassVar[int]
    MODEL_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_SIZE_FIELD_NUMBER: _ClassVar[int]
    TILE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    NUM_BYTES_FIELD_NUMBER: _ClassVar[int]
    slot: EmbeddingSlot
    image_key: bytes
    model_fingerprint: str
    dtype: DType
    hidden_size: int
    tile_tokens: _containers.RepeatedScalarFieldContainer[int]
    num_bytes: int
    def __init__(self, slot: _Optional[_Union[EmbeddingSlot, _Mapping]] = ..., image_key: _Optional[bytes] = ..., model_fingerprint: _Optional[str] = ..., dtype: _Optional[_Union[DType, str]] = ..., hidden_size: _Optional[int] = ..., tile_tokens: _Optional[_Iterable[int]] = ..., num_bytes: _Optional[int] = ...) -> None: ...

class EmbeddingChunk(_message.Message):
    __slots__ = ("byte_offset", "checksum", "inline")
    BYTE_OFFSET_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    INLINE_FIELD_NUMBER: _ClassVar[int]
    byte_offset: int
    checksum: int
    inline: bytes
    def __init__(self, byte_offset: _Optional[int] = ..., checksum: _Optional[int] = ..., inline: _Optional[bytes] = ...) -> None: ...

class PutEmbeddingsRequest(_message.Message):
    __slots__ = ("manifest", "chunk")
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    manifest: EmbeddingManifest
    chunk: EmbeddingChunk
    def __init__(self, manifest: _Optional[_Union[EmbeddingManifest, _Mapping]] = ..., chunk: _Optional[_Union[EmbeddingChunk, _Mapping]] = ...) -> None: ...

class EmbeddingCredit(_message.Message):
    __slots__ = ("limit_bytes",)
    LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    limit_bytes: int
    def __init__(self, limit_bytes: _Optional[int] = ...) -> None: ...

class EmbeddingCommitted(_message.Message):
    __slots__ = ("num_bytes",)
    NUM_BYTES_FIELD_NUMBER: _ClassVar[int]
    num_bytes: int
    def __init__(self, num_bytes: _Optional[int] = ...) -> None: ...

class PutEmbeddingsResponse(_message.Message):
    __slots__ = ("credit", "committed")
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    credit: EmbeddingCredit
    committed: EmbeddingCommitted
    def __init__(self, credit: _Optional[_Union[EmbeddingCredit, _Mapping]] = ..., committed: _Optional[_Union[EmbeddingCommitted, _Mapping]] = ...) -> None: ...
