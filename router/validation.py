"""The door: a raw wire request becomes a `ValidRequest`, or one error that names the field."""

import uuid
from dataclasses import dataclass, replace

from common.config import RouterConfig
from common.conversation import ImageGroupPart, PromptMessage, TextPart
from common.errors import InvalidImageError, InvalidRequestError, ModelNotFoundError
from common.image_file import inspect_image
from common.model_config import ModelConfig
from common.role_wire import ROLES
from common.types import Role, SamplingRequest
from protos.dvd.v1 import inference_pb2
from router.continuation import read_continue_from
from router.image_options import ImageOptionsReader
from router.requests import RequestCost, ValidImage, ValidRequest
from router.resolution_options import ResolutionOptions
from router.sampling import validate_sampling

MAX_REQUEST_ID_CHARACTERS = 128
MAX_PRIORITY = 100
# Cost estimate only; the language service counts exactly.
BYTES_PER_TOKEN = 3
ASSUMED_ANSWER_TOKENS = 256


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What the router knows of the model.

    Attributes:
        name: Name to give in requests.
        fingerprint: Hash of configuration and weights.
        config: Its configuration.
        max_context_tokens: Longest prompt and answer together, as deployed.
    """

    name: str
    fingerprint: str
    config: ModelConfig
    max_context_tokens: int


class RequestValidator:
    """Validates the requests of one public door."""

    def __init__(self, config: RouterConfig, model: ServedModel) -> None:
        """Lay the configuration over the checkpoint.

        Raises:
            ConfigError: The configuration does not fit the model.
        """
        self._config = config
        self._model = model
        self._images = ImageOptionsReader(config, model.config.tiling)
        self._resolution = ResolutionOptions(config, model.config.thresholds)

    def validate(self, wire: inference_pb2.GenerateRequest) -> ValidRequest:
        """Check everything that can be known before any work is done.

        Raises:
            InvalidRequestError: Names the field at fault.
            ModelNotFoundError: Another model was asked for.
        """
        if wire.model not in ("", self._model.name):
            raise ModelNotFoundError(f"The served model is {self._model.name}.")
        request_id = self._request_id(wire.request_id)
        images: list[ValidImage] = []
        messages = self._messages(wire, images)
        sampling = validate_sampling(wire.sampling)
        text_tokens = _text_tokens(messages)
        cost = self._cost(text_tokens, images, sampling)
        valid = ValidRequest(
            request_id=request_id,
            messages=messages,
            images=tuple(images),
            sampling=sampling,
            scope=self._resolution.scope(wire),
            thresholds=self._resolution.thresholds(wire),
            cost=cost,
            priority=self._priority(wire.priority),
            text_tokens=text_tokens,
        )
        return replace(valid, continue_from=read_continue_from(wire, valid))

    @staticmethod
    def _request_id(given: str) -> str:
        if len(given) > MAX_REQUEST_ID_CHARACTERS or not (given.isascii() and given.isprintable()):
            raise InvalidRequestError(
                f"A request id has at most {MAX_REQUEST_ID_CHARACTERS} printable ASCII characters.",
                "request_id",
            )
        return given or uuid.uuid4().hex

    @staticmethod
    def _priority(given: int) -> int:
        if abs(given) > MAX_PRIORITY:
            raise InvalidRequestError(
                f"priority must be from -{MAX_PRIORITY} to {MAX_PRIORITY}.", "priority"
            )
        return given

    def _messages(
        self, wire: inference_pb2.GenerateRequest, images: list[ValidImage]
    ) -> tuple[PromptMessage, ...]:
        if not wire.messages:
            raise InvalidRequestError("A request needs at least one message.", "messages")
        messages = tuple(
            self._message(message, f"messages[{index}]", images)
            for index, message in enumerate(wire.messages)
        )
        for index, message in enumerate(messages[1:], start=1):
            if message.role is Role.SYSTEM:
                raise InvalidRequestError(
                    "Only the first message may be the system's.", f"messages[{index}].role"
                )
        if any(message.role is Role.NOBODY for message in messages):
            if len(messages) > 1:
                raise InvalidRequestError("Bare text is the only message.", "messages")
        elif messages[-1].role is not Role.USER:
            raise InvalidRequestError(
                "The last message must be the user's.", f"messages[{len(messages) - 1}].role"
            )
        return messages

    def _message(
        self, wire: inference_pb2.Message, field: str, images: list[ValidImage]
    ) -> PromptMessage:
        role = ROLES.get(wire.role)
        if role is None:
            raise InvalidRequestError("A message needs a role.", f"{field}.role")
        if not wire.parts:
            raise InvalidRequestError("A message needs at least one part.", f"{field}.parts")
        parts = []
        for index, part in enumerate(wire.parts):
            here = f"{field}.parts[{index}]"
            if part.WhichOneof("part") not in ("text", None) and role is not Role.USER:
                raise InvalidRequestError("Only user messages may hold pictures.", here)
            parts.append(self._part(part, here, images))
        return PromptMessage(role, tuple(parts))

    def _part(
        self, wire: inference_pb2.Part, field: str, images: list[ValidImage]
    ) -> TextPart | ImageGroupPart:
        kind = wire.WhichOneof("part")
        if kind == "text":
            return TextPart(wire.text)
        if kind == "image":
            return ImageGroupPart((self._image(wire.image, f"{field}.image", images),))
        if kind == "image_group" and wire.image_group.images:
            group = enumerate(wire.image_group.images)
            return ImageGroupPart(
                tuple(
                    self._image(image, f"{field}.image_group.images[{index}]", images)
                    for index, image in group
                )
            )
        raise InvalidRequestError("A part needs text or at least one picture.", field)

    def _image(self, wire: inference_pb2.Image, field: str, images: list[ValidImage]) -> int:
        limit = self._config.max_images_per_request
        if len(images) == limit:
            raise InvalidRequestError(f"A request may have {limit} pictures.", field)
        options = self._images.read(wire, field)
        try:
            size = inspect_image(wire.data, wire.mime_type, self._config.images)
        except InvalidImageError as error:
            raise InvalidImageError(error.message, field) from error
        image = ValidImage(
            data=wire.data,
            key=options.key(wire.data),
            grid=options.grid(size),
            field=field,
            options=options,
            orientation=size.orientation if options.apply_orientation else 1,
        )
        images.append(image)
        return len(images) - 1

    def _cost(
        self,
        text_tokens: int,
        images: list[ValidImage],
        sampling: SamplingRequest,
    ) -> RequestCost:
        tiles = sum(image.grid.num_tiles for image in images)
        if tiles > self._config.max_tiles_per_request:
            raise InvalidRequestError(
                f"The pictures have {tiles} tiles; "
                f"a request may have {self._config.max_tiles_per_request}.",
                "messages",
            )
        visual_tokens = tiles * self._model.config.full_tokens_per_tile
        if visual_tokens >= self._model.max_context_tokens:
            raise InvalidRequestError(
                f"The pictures need {visual_tokens} tokens; "
                f"the context has {self._model.max_context_tokens}.",
                "messages",
            )
        answer_tokens = min(
            sampling.max_tokens or ASSUMED_ANSWER_TOKENS, self._model.max_context_tokens
        )
        return RequestCost(
            tiles=tiles,
            tokens=visual_tokens + text_tokens + sampling.num_choices * answer_tokens,
            image_bytes=sum(len(image.data) for image in images),
        )


def _text_tokens(messages: tuple[PromptMessage, ...]) -> int:
    """Estimate the tokens of all text from its bytes."""
    num_bytes = sum(
        len(part.text.encode())
        for message in messages
        for part in message.parts
        if isinstance(part, TextPart)
    )
    return num_bytes // BYTES_PER_TOKEN
