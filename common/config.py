"""The configuration of each process: composed, frozen, strict, with its defaults.

`deploy.config` puts these together from YAML and the command line and hands each process its
part. An unknown key is an error.
"""

from typing import Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from common.tiling import MAX_TILES
from common.types import ResolutionScope

DTypeName = Literal["auto", "float32", "bfloat16"]

# What `auto` and null stand for. A GPU is not filled by the chunks that suit a CPU.
CPU_BATCH_TOKENS, CUDA_BATCH_TOKENS = 512, 8192
CPU_KV_TOKENS = 65_536


class StrictModel(BaseModel):
    """Base of all configuration: immutable, and loud on unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LogConfig(StrictModel):
    """How every process logs.

    Attributes:
        level: Lowest level shown.
        json_lines: Whether every line is a JSON object.
        stats_interval_seconds: Between lines that say how busy a process is, while there is
            something to say; 0 for none.
    """

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    json_lines: bool = False
    stats_interval_seconds: NonNegativeFloat = 10.0


class ImageLimits(StrictModel):
    """Bounds on one picture file, checked before it is decoded.

    Attributes:
        max_bytes: Largest file.
        max_pixels: Largest width times height.
        max_side: Largest width and largest height, in pixels; resizing takes memory for each.
        max_aspect: Most that the longer side may be of the shorter.
    """

    max_bytes: PositiveInt = 20 << 20
    max_pixels: PositiveInt = 50_000_000
    max_side: PositiveInt = 32_768
    max_aspect: float = Field(default=1000.0, ge=1)


class VisionServiceConfig(StrictModel):
    """One vision replica.

    Attributes:
        dtype: Element type of weights and features; `auto` is float32 on CPU, bfloat16 on CUDA.
        num_threads: torch's threads; replicas on one host should not ask for more than its cores.
        max_batch_tiles: Most tiles of one pass of the vision transformer; on CPU fewer, where they
            are large enough to fill it.
        max_batch_wait_seconds: Longest that a picture waits for others to fill its batch, and only
            while others are being decoded.
        max_outstanding_tiles: Tiles, waiting or running, beyond which requests are refused.
        feature_cache_bytes: Budget for what is kept of pictures: output of the vision transformer,
            embeddings, scores.
        decode_threads: Pictures decoded at a time.
        max_pushes_per_destination: Pictures on their way to one language replica at a time,
            projection included; further ones wait.
        chunk_bytes: Payload of one message of an embedding stream.
        cuda_graphs: Whether small passes are captured and replayed, on CUDA.
    """

    dtype: DTypeName = "auto"
    num_threads: PositiveInt = 1
    max_batch_tiles: PositiveInt = 16
    max_batch_wait_seconds: NonNegativeFloat = 0.005
    max_outstanding_tiles: PositiveInt = 512
    feature_cache_bytes: PositiveInt = 4 << 30
    decode_threads: PositiveInt = 2
    max_pushes_per_destination: PositiveInt = 32
    chunk_bytes: int = Field(default=1 << 20, ge=64 << 10, le=4 << 20)
    cuda_graphs: bool = True


class LanguageServiceConfig(StrictModel):
    """One language replica.

    Attributes:
        dtype: Element type of weights, KV and embeddings; `auto` as for vision.
        num_threads: torch's threads.
        max_context_tokens: Longest prompt and answer; null takes the model's own limit.
        max_batch_tokens: Most tokens of one engine step; longer prompts are cut into chunks. Null
            takes 512 on CPU, 8192 on CUDA.
        max_sequences: Most requests decoded at a time.
        kv_tokens: Tokens that the KV cache holds; `auto` is 65536 on CPU, and on CUDA what
            `gpu_memory_utilization` leaves. What it has beyond the longest request may keep
            pictures of waiting requests, so it should be well above `max_context_tokens`.
        gpu_memory_utilization: Share of a card's memory that may be in use when all is loaded,
            other processes' part included; for `kv_tokens: auto`.
        kv_block_size: Tokens of a block of it.
        cuda_graphs: Whether steps of answers alone are captured and replayed, on CUDA.
        compile: Whether PyTorch compiles the layers, in place of packing weights for the CPU; adds
            a minute or so to the start, and needs a C++ compiler on CPU.
        prefix_cache: Whether what earlier requests have computed may serve later ones.
        inbox_bytes: Budget for embeddings that are reserved, arriving or in use.
        credit_bytes: Payload of an embedding stream that may be on its way, not yet taken in.
        sender_silence_seconds: Time without a message after which an embedding stream is given up.
        rank_timeout_seconds: Longest that a rank of a tensor-parallel replica waits for another
            within a step, after which the replica is started again.
        default_max_tokens: Answer limit of requests that set none.
        system_message: `original` puts the original code's default system message before
            conversations without one; `none` adds nothing, as the published chat template.
    """

    dtype: DTypeName = "auto"
    num_threads: PositiveInt = 1
    max_context_tokens: PositiveInt | None = None
    max_batch_tokens: PositiveInt | None = None
    max_sequences: PositiveInt = 32
    kv_tokens: PositiveInt | Literal["auto"] = "auto"
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    kv_block_size: PositiveInt = 16
    cuda_graphs: bool = True
    compile: bool = False
    prefix_cache: bool = True
    inbox_bytes: PositiveInt = 1 << 30
    credit_bytes: int = Field(default=8 << 20, ge=8 << 20)
    sender_silence_seconds: PositiveFloat = 10.0
    rank_timeout_seconds: PositiveFloat = 60.0
    default_max_tokens: PositiveInt = 1024
    system_message: Literal["none", "original"] = "none"

    def context_tokens(self, model_limit: int) -> int:
        """Longest prompt and answer of a model with the given limit."""
        wanted = min(self.max_context_tokens or model_limit, model_limit)
        return wanted if self.kv_tokens == "auto" else min(wanted, self.kv_tokens)

    def batch_tokens(self, is_cuda: bool) -> int:
        """Most tokens of one engine step."""
        return self.max_batch_tokens or (CUDA_BATCH_TOKENS if is_cuda else CPU_BATCH_TOKENS)


class ThresholdBounds(StrictModel):
    """Thresholds that a request may ask for.

    Attributes:
        lowest: The lowest, which compresses most.
        highest: The highest.
    """

    lowest: float = Field(default=0.0, ge=0, le=1)
    highest: float = Field(default=1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if self.lowest > self.highest:
            raise ValueError("lowest is above highest")
        return self


class OverloadConfig(StrictModel):
    """Compress more when the router is nearly full, before it refuses work.

    Attributes:
        above_load: Share of an admission bound in use from which it acts, the request counted.
        relative_threshold: In use then, unless the request's is lower; null leaves it.
        absolute_threshold: Likewise; one of the two must be set.
    """

    above_load: float = Field(default=0.75, ge=0, le=1)
    relative_threshold: float | None = Field(default=None, ge=0, le=1)
    absolute_threshold: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        if self.relative_threshold is None and self.absolute_threshold is None:
            raise ValueError("neither relative_threshold nor absolute_threshold is set")
        return self


class ResolutionConfig(StrictModel):
    """How the visual resolution router's scores become decisions.

    Attributes:
        relative_threshold: Quantile above which tiles may be compressed, where a request sets
            none; null takes the checkpoint's.
        absolute_threshold: Lowest score of a compressed tile, likewise.
        relative_bounds: Relative thresholds that a request may ask for.
        absolute_bounds: Absolute thresholds that a request may ask for.
        overload: Compression under load; null for none.
    """

    relative_threshold: float | None = Field(default=None, ge=0, le=1)
    absolute_threshold: float | None = Field(default=None, ge=0, le=1)
    relative_bounds: ThresholdBounds = ThresholdBounds()
    absolute_bounds: ThresholdBounds = ThresholdBounds()
    overload: OverloadConfig | None = None


PolicyName = Literal["least_work", "power_of_two", "round_robin", "affinity"]


class PlacementConfig(StrictModel):
    """Which replica takes the next piece of work.

    Attributes:
        vision: Policy for pictures. `least_work`: who will be done first, at its measured rate;
            `power_of_two`: the better of two drawn at random; `round_robin`: each in turn;
            `affinity`: the same replica for the same picture, while it is not much busier than
            the others.
        language: Policy for conversations; `affinity` goes by how a conversation begins.
        affinity_bound: Most that a replica chosen by `affinity` may have to do, as a multiple of
            the mean.
    """

    vision: PolicyName = "least_work"
    language: PolicyName = "least_work"
    affinity_bound: float = Field(default=1.25, ge=1)


class HealthConfig(StrictModel):
    """How a router tells replicas that are lost from replicas that are busy.

    Attributes:
        probe_interval_seconds: Between probes of a replica that is up.
        probe_timeout_seconds: Time that a replica has to answer one.
        silence_seconds: Without a load report, after which a replica is suspected; one comes every
            second at least.
        max_failures: Requests failing in a row at a replica that put it out of use until a probe
            passes.
    """

    probe_interval_seconds: PositiveFloat = 5.0
    probe_timeout_seconds: PositiveFloat = 3.0
    silence_seconds: float = Field(default=2.5, gt=1.0)
    max_failures: PositiveInt = 3


DEFAULT_HTTP_PORT = 8000


class RouterConfig(StrictModel):
    """The router: the public door and its bounds.

    Attributes:
        host: Address to listen on.
        grpc_port: Public gRPC port; 0 takes a free one.
        http_port: Public HTTP port; 0 takes a free one, and null takes 8000, or a free one where
            the gRPC port is a free one too.
        metrics_port: Port of `/metrics`; 0 takes a free one.
        max_requests: Requests in flight beyond which new ones are refused.
        max_outstanding_tiles: Tiles in flight, likewise.
        max_outstanding_tokens: Estimated tokens in flight, likewise.
        max_retained_image_bytes: Picture bytes held for retries, likewise; over HTTP also the bytes
            of all bodies that are being read.
        max_request_bytes: Largest request message; over HTTP, where pictures travel as base64, the
            largest body is a third larger.
        max_images_per_request: Most pictures of one request.
        max_tiles_per_request: Most tiles of one request.
        default_deadline_seconds: Deadline of requests that set none.
        placement: Who takes the next piece of work.
        priority_share: Part of every bound in flight that only requests of priority above 0 may
            use.
        retry_after_seconds: Delay named in refusals until it follows from how fast requests end.
        max_tiles_per_image: Most tiles of a picture that a request may ask for, thumbnail not
            counted; null takes the checkpoint's.
        apply_orientation: Whether pictures are turned upright as EXIF says. The published pipeline
            does not, so this is off.
        resolution_scope: Scope of requests that set none.
        resolution: How scores become decisions.
        max_remembered_images: Pictures whose gate scores are remembered.
        images: Bounds on each picture.
        health: When replicas are taken out of use and back.
    """

    host: str = "127.0.0.1"
    grpc_port: int = Field(default=50051, ge=0, le=65535)
    http_port: int | None = Field(default=None, ge=0, le=65535)
    metrics_port: int = Field(default=0, ge=0, le=65535)
    max_requests: PositiveInt = 256
    max_outstanding_tiles: PositiveInt = 2048
    max_outstanding_tokens: PositiveInt = 1 << 20
    max_retained_image_bytes: PositiveInt = 1 << 30
    max_request_bytes: PositiveInt = 64 << 20
    max_images_per_request: PositiveInt = 64
    max_tiles_per_request: PositiveInt = 256
    default_deadline_seconds: PositiveFloat = 600.0
    placement: PlacementConfig = PlacementConfig()
    priority_share: float = Field(default=0.0, ge=0, le=0.9)
    retry_after_seconds: NonNegativeFloat = 1.0
    max_tiles_per_image: int | None = Field(default=None, ge=1, le=MAX_TILES)
    apply_orientation: bool = False
    resolution_scope: ResolutionScope = ResolutionScope.REQUEST
    resolution: ResolutionConfig = ResolutionConfig()
    max_remembered_images: PositiveInt = 16_384
    images: ImageLimits = ImageLimits()
    health: HealthConfig = HealthConfig()

    @property
    def own_http_port(self) -> int:
        """Public HTTP port; 0 for a free one."""
        if self.http_port is not None:
            return self.http_port
        return DEFAULT_HTTP_PORT if self.grpc_port else 0

    @property
    def max_http_body_bytes(self) -> int:
        """Largest HTTP body: base64 writes three bytes as four."""
        return self.max_request_bytes // 3 * 4
