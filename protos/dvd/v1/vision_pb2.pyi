from protos.dvd.v1 import embedding_pb2 as _embedding_pb2
from protos.dvd.v1 import replica_pb2 as _replica_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VisionServiceGetServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VisionServiceGetServerInfoResponse(_message.Message):
    __slots__ = ("info",)
    INFO_FIELD_NUMBER: _ClassVar[int]
    info: _replica_pb2.ServerInfo
    def __init__(self, info: _Optional[_Union[_replica_pb2.ServerInfo, _Mapping]] = ...) -> None: ...

class EncodeRequest(_message.Message):
    __slots__ = ("request_id", "image_data", "expected_tiles", "max_tiles", "apply_orientation", "planned_push")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    IMAGE_DATA_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_TILES_FIELD_NUMBER: _ClassVar[int]
    MAX_TILES_FIELD_NUMBER: _ClassVar[int]
    APPLY_ORIENTATION_FIELD_NUMBER: _ClassVar[int]
    PLANNED_PUSH_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    image_data: bytes
    expected_tiles: int
    max_tiles: int
    apply_orientation: bool
    planned_push: PlannedPush
    def __init__(self, request_id: _Optional[str] = ..., image_data: _Optional[bytes] = ..., expected_tiles: _Optional[int] = ..., max_tiles: _Optional[int] = ..., apply_orientation: _Optional[bool] = ..., planned_push: _Optional[_Union[PlannedPush, _Mapping]] = ...) -> None: ...

class PlannedPush(_message.Message):
    __slots__ = ("compressed", "dtype")
    COMPRESSED_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    compressed: _containers.RepeatedScalarFieldContainer[bool]
    dtype: _embedding_pb2.DType
    def __init__(self, compressed: _Optional[_Iterable[bool]] = ..., dtype: _Optional[_Union[_embedding_pb2.DType, str]] = ...) -> None: ...

class EncodeResponse(_message.Message):
    __slots__ = ("image_key", "num_tiles", "scores", "queue_seconds", "preprocess_seconds", "vit_seconds", "gate_seconds")
    IMAGE_KEY_FIELD_NUMBER: _ClassVar[int]
    NUM_TILES_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    QUEUE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PREPROCESS_SECONDS_FIELD_NUMBER: _ClassVar[int]
    VIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    GATE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    image_key: bytes
    num_tiles: int
    scores: _containers.RepeatedScalarFieldContainer[float]
    queue_seconds: float
    preprocess_seconds: float
    vit_seconds: float
    gate_seconds: float
    def __init__(self, image_key: _Optional[bytes] = ..., num_tiles: _Optional[int] = ..., scores: _Optional[_Iterable[float]] = ..., queue_seconds: _Optional[float] = ..., preprocess_seconds: _Optional[float] = ..., vit_seconds: _Optional[float] = ..., gate_seconds: _Optional[float] = ...) -> None: ...

class PushRequest(_message.Message):
    __slots__ = ("image_key", "compressed", "slot", "destination", "dtype")
    IMAGE_KEY_FIELD_NUMBER: _ClassVar[int]
    COMPRESSED_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    image_key: bytes
    compressed: _containers.RepeatedScalarFieldContainer[bool]
    slot: _embedding_pb2.EmbeddingSlot
    destination: str
    dtype: _embedding_pb2.DType
    def __init__(self, image_key: _Optional[bytes] = ..., compressed: _Optional[_Iterable[bool]] = ..., slot: _Optional[_Union[_embedding_pb2.EmbeddingSlot, _Mapping]] = ..., destination: _Optional[str] = ..., dtype: _Optional[_Union[_embedding_pb2.DType, str]] = ...) -> None: ...

class PushResponse(_message.Message):
    __slots__ = ("num_bytes", "project_seconds", "transfer_seconds")
    NUM_BYTES_FIELD_NUMBER: _ClassVar[int]
    PROJECT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_SECONDS_FIELD_NUMBER: _ClassVar[int]
    num_bytes: int
    project_seconds: float
    transfer_seconds: float
    def __init__(self, num_bytes: _Optional[int] = ..., project_seconds: _Optional[float] = ..., transfer_seconds: _Optional[float] = ...) -> None: ...

class VisionServiceWatchLoadRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VisionServiceWatchLoadResponse(_message.Message):
    __slots__ = ("load",)
    LOAD_FIELD_NUMBER: _ClassVar[int]
    load: _replica_pb2.LoadReport
    def __init__(self, load: _Optional[_Union[_replica_pb2.LoadReport, _Mapping]] = ...) -> None: ...
