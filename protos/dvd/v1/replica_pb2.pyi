from protos.dvd.v1 import embedding_pb2 as _embedding_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReplicaRole(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REPLICA_ROLE_UNSPECIFIED: _ClassVar[ReplicaRole]
    REPLICA_ROLE_VISION: _ClassVar[ReplicaRole]
    REPLICA_ROLE_LANGUAGE: _ClassVar[ReplicaRole]
REPLICA_ROLE_UNSPECIFIED: ReplicaRole
REPLICA_ROLE_VISION: ReplicaRole
REPLICA_ROLE_LANGUAGE: ReplicaRole

class Replica(_message.Message):
    __slots__ = ("name", "role", "incarnation", "address", "fingerprint", "metrics_address", "is_draining")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    METRICS_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    IS_DRAINING_FIELD_NUMBER: _ClassVar[int]
    name: str
    role: ReplicaRole
    incarnation: str
    address: str
    fingerprint: str
    metrics_address: str
    is_draining: bool
    def __init__(self, name: _Optional[str] = ..., role: _Optional[_Union[ReplicaRole, str]] = ..., incarnation: _Optional[str] = ..., address: _Optional[str] = ..., fingerprint: _Optional[str] = ..., metrics_address: _Optional[str] = ..., is_draining: _Optional[bool] = ...) -> None: ...

class WatchRosterRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchRosterResponse(_message.Message):
    __slots__ = ("replicas",)
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    replicas: _containers.RepeatedCompositeFieldContainer[Replica]
    def __init__(self, replicas: _Optional[_Iterable[_Union[Replica, _Mapping]]] = ...) -> None: ...

class ServerInfo(_message.Message):
    __slots__ = ("replica", "hidden_size", "weight_bytes", "dtype")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_SIZE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_BYTES_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    replica: Replica
    hidden_size: int
    weight_bytes: int
    dtype: _embedding_pb2.DType
    def __init__(self, replica: _Optional[_Union[Replica, _Mapping]] = ..., hidden_size: _Optional[int] = ..., weight_bytes: _Optional[int] = ..., dtype: _Optional[_Union[_embedding_pb2.DType, str]] = ...) -> None: ...

class LoadReport(_message.Message):
    __slots__ = ("running_requests", "waiting_requests", "outstanding_work", "completed_work", "busy_seconds")
    RUNNING_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    WAITING_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    OUTSTANDING_WORK_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_WORK_FIELD_NUMBER: _ClassVar[int]
    BUSY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    running_requests: int
    waiting_requests: int
    outstanding_work: int
    completed_work: int
    busy_seconds: float
    def __init__(self, running_requests: _Optional[int] = ..., waiting_requests: _Optional[int] = ..., outstanding_work: _Optional[int] = ..., completed_work: _Optional[int] = ..., busy_seconds: _Optional[float] = ...) -> None: ...
