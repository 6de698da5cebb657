"""The door: every refusal names its field in one fixed sentence; valid requests are filled in."""

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from common.config import ImageLimits, RouterConfig
from common.conversation import ImageGroupPart, PromptMessage, TextPart
from common.errors import InvalidImageError, InvalidRequestError, ModelNotFoundError
from common.image_options import ImageOptions
from common.model_config import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    CheckpointLayout,
    ModelConfig,
    VisionShape,
)
from common.resolution_rule import ResolutionThresholds
from common.tiling import TileGrid, TilingOptions
from common.types import ResolutionScope, Role
from protos.dvd.v1 import inference_pb2
from router.requests import RequestCost, ValidRequest
from router.sampling import MAX_SEED
from router.validation import RequestValidator, ServedModel
from tests import pictures

SYSTEM, USER, ASSISTANT, NOBODY = (
    inference_pb2.ROLE_SYSTEM,
    inference_pb2.ROLE_USER,
    inference_pb2.ROLE_ASSISTANT,
    inference_pb2.ROLE_NOBODY,
)
SHAPE = VisionShape(
    hidden_size=8,
    num_layers=1,
    num_heads=1,
    intermediate_size=8,
    tile_size=pictures.TILE,
    patch_size=14,
    qkv_bias=True,
    qk_norm=False,
    norm_type="layer_norm",
    norm_eps=1e-6,
    activation="gelu",
)
MODEL = ModelConfig(
    layout=CheckpointLayout.ORIGINAL,
    tiling=TilingOptions(pictures.TILE, min_tiles=1, max_tiles=12, use_thumbnail=True),
    pixel_mean=IMAGENET_MEAN,
    pixel_std=IMAGENET_STD,
    vision=SHAPE,
    text={"hidden_size": 8, "max_position_embeddings": 4096},
    downsample_ratio=0.5,
    thresholds=None,
)
TOKENS_PER_TILE = 16
CONTEXT_TOKENS = 400
SMALL = pictures.blank(20, 20)
SQUARE = pictures.grid(2, 2)
CONFIG = RouterConfig(
    max_images_per_request=3,
    max_tiles_per_request=20,
    images=ImageLimits(max_bytes=100_000, max_pixels=300_000),
    resolution_scope=ResolutionScope.IMAGE,
)


def text(words: str = "Hello.") -> inference_pb2.Part:
    return inference_pb2.Part(text=words)


def image(data: bytes = SMALL, mime_type: str = "") -> inference_pb2.Part:
    return inference_pb2.Part(image=inference_pb2.Image(data=data, mime_type=mime_type))


def group(*files: bytes) -> inference_pb2.Part:
    members = [inference_pb2.Image(data=data) for data in files]
    return inference_pb2.Part(image_group=inference_pb2.ImageGroup(images=members))


def message(role: Any, *parts: inference_pb2.Part) -> inference_pb2.Message:
    return inference_pb2.Message(role=role, parts=parts)


def wire(*messages: inference_pb2.Message, **fields: Any) -> inference_pb2.GenerateRequest:
    """A request of these messages; without any, of one that is valid."""
    return inference_pb2.GenerateRequest(messages=messages or [message(USER, text())], **fields)


def user(*parts: inference_pb2.Part) -> inference_pb2.GenerateRequest:
    return wire(message(USER, *parts))


def sampling(**fields: Any) -> inference_pb2.GenerateRequest:
    return wire(sampling=inference_pb2.SamplingParameters(**fields))


def validate(
    request: inference_pb2.GenerateRequest, context_tokens: int = CONTEXT_TOKENS
) -> ValidRequest:
    model = ServedModel("tiny", "fingerprint", MODEL, context_tokens)
    return RequestValidator(CONFIG, model).validate(request)


def refusal(request: inference_pb2.GenerateRequest) -> tuple[str, str]:
    """Field and sentence of a refusal that is no picture's fault."""
    with pytest.raises(InvalidRequestError) as caught:
        validate(request)
    assert type(caught.value) is InvalidRequestError
    return caught.value.field, caught.value.message


NEEDS_PART = "A part needs text or at least one picture."
ONLY_USER = "Only user messages may hold pictures."
TEMPERATURE = "temperature must be from 0 to 2; it is "
REQUEST_ID = "A request id has at most 128 printable ASCII characters."


@pytest.mark.parametrize(
    ("request_wire", "field", "sentence"),
    [
        (
            inference_pb2.GenerateRequest(),
            "messages",
            "A request needs at least one message.",
        ),
        (wire(message(0, text())), "messages[0].role", "A message needs a role."),
        (wire(message(9, text())), "messages[0].role", "A message needs a role."),
        (wire(message(USER)), "messages[0].parts", "A message needs at least one part."),
        (
            wire(message(USER, text()), message(SYSTEM, text()), message(USER, text())),
            "messages[1].role",
            "Only the first message may be the system's.",
        ),
        (
            wire(message(SYSTEM, text()), message(SYSTEM, text()), message(USER, text())),
            "messages[1].role",
            "Only the first message may be the system's.",
        ),
        (
            wire(message(USER, text()), message(ASSISTANT, text())),
            "messages[1].role",
            "The last message must be the user's.",
        ),
        (
            wire(message(SYSTEM, text())),
            "messages[0].role",
            "The last message must be the user's.",
        ),
        (user(text(), inference_pb2.Part()), "messages[0].parts[1]", NEEDS_PART),
        (user(group()), "messages[0].parts[0]", NEEDS_PART),
        (
            wire(message(ASSISTANT, inference_pb2.Part()), message(USER, text())),
            "messages[0].parts[0]",
            NEEDS_PART,
        ),
        (
            wire(message(ASSISTANT, text(), image()), message(USER, text())),
            "messages[0].parts[1]",
            ONLY_USER,
        ),
        (
            wire(message(SYSTEM, group(SMALL)), message(USER, text())),
            "messages[0].parts[0]",
            ONLY_USER,
        ),
        (
            user(image(), image(), group(SMALL, SMALL)),
            "messages[0].parts[2].image_group.images[1]",
            "A request may have 3 pictures.",
        ),
        (
            user(*[image(SQUARE)] * 2, image(pictures.grid(12, 1))),
            "messages",
            "The pictures have 23 tiles; a request may have 20.",
        ),
        (sampling(max_tokens=0), "sampling.max_tokens", "max_tokens must be at least 1."),
        (
            sampling(temperature=float("nan")),
            "sampling.temperature",
            TEMPERATURE + "not a number.",
        ),
        (sampling(temperature=-1.0), "sampling.temperature", TEMPERATURE + "-1."),
        (sampling(temperature=3.0), "sampling.temperature", TEMPERATURE + "3."),
        (sampling(temperature=float("inf")), "sampling.temperature", TEMPERATURE + "inf."),
        (sampling(seed=MAX_SEED + 1), "sampling.seed", f"seed must be at most {MAX_SEED}."),
        (wire(resolution_scope=99), "resolution_scope", "Unknown resolution scope."),
        (wire(request_id="x" * 129), "request_id", REQUEST_ID),
        (wire(request_id="line\nbreak"), "request_id", REQUEST_ID),
        (wire(request_id="größe"), "request_id", REQUEST_ID),
    ],
)
def test_a_refusal_names_its_field(
    request_wire: inference_pb2.GenerateRequest, field: str, sentence: str
) -> None:
    assert refusal(request_wire) == (field, sentence)


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        (image(b""), "The picture is empty."),
        (
            image(b"no picture"),
            "The picture is damaged or of an unsupported format; "
            "supported are BMP, GIF, JPEG, PNG, WEBP.",
        ),
        (
            image(SMALL, "image/jpeg"),
            "The picture is image/png, which is not the declared type.",
        ),
        (
            image(bytes(100_001)),
            "The picture has 100001 bytes; at most 100000 are accepted.",
        ),
        (
            image(pictures.blank(1000, 301)),
            "The picture has 1000 x 301 pixels; at most 300000 in all are accepted.",
        ),
    ],
)
def test_a_picture_at_fault_is_named(part: inference_pb2.Part, sentence: str) -> None:
    with pytest.raises(InvalidImageError) as caught:
        validate(user(text(), part))
    assert (caught.value.field, caught.value.message) == ("messages[0].parts[1].image", sentence)


def test_a_picture_at_fault_in_a_group_is_named() -> None:
    request = wire(
        message(USER, text()), message(ASSISTANT, text()), message(USER, group(SMALL, b""))
    )
    with pytest.raises(InvalidImageError) as caught:
        validate(request)
    assert caught.value.field == "messages[2].parts[0].image_group.images[1]"


def test_pictures_must_leave_room_in_the_context() -> None:
    request = user(image(SQUARE), text())
    assert validate(request, context_tokens=5 * TOKENS_PER_TILE + 1).cost.tiles == 5
    with pytest.raises(InvalidRequestError) as caught:
        validate(request, context_tokens=5 * TOKENS_PER_TILE)
    assert caught.value.message == "The pictures need 80 tokens; the context has 80."
    assert caught.value.field == "messages"


@pytest.mark.parametrize("asked", ["other", "TINY", "models/tiny"])
def test_another_model_is_not_found(asked: str) -> None:
    with pytest.raises(ModelNotFoundError, match=r"The served model is tiny\."):
        validate(wire(model=asked))


@pytest.mark.parametrize("asked", ["", "tiny"])
def test_the_served_model_may_be_named_or_not(asked: str) -> None:
    assert validate(wire(model=asked)).messages


def test_a_conversation_keeps_its_order_and_numbers_its_pictures() -> None:
    valid = validate(
        wire(
            message(SYSTEM, text("Be brief.")),
            message(USER, image(SMALL), text("this?")),
            message(ASSISTANT, text("A square.")),
            message(USER, group(SQUARE, SMALL), text("")),
        )
    )
    assert valid.messages == (
        PromptMessage(Role.SYSTEM, (TextPart("Be brief."),)),
        PromptMessage(Role.USER, (ImageGroupPart((0,)), TextPart("this?"))),
        PromptMessage(Role.ASSISTANT, (TextPart("A square."),)),
        PromptMessage(Role.USER, (ImageGroupPart((1, 2)), TextPart(""))),
    )


def test_a_picture_is_kept_with_its_key_grid_and_place() -> None:
    valid = validate(user(image(SQUARE, "image/png"), group(SMALL)))
    first, second = valid.images
    assert (first.data, first.key) == (SQUARE, ImageOptions(MODEL.tiling).key(SQUARE))
    assert first.grid == TileGrid(2, 2, has_thumbnail=True)
    assert first.field == "messages[0].parts[0].image"
    assert second.field == "messages[0].parts[1].image_group.images[0]"


def test_what_is_open_is_left_to_others_or_taken_from_the_configuration() -> None:
    valid = validate(wire())
    assert (valid.sampling.max_tokens, valid.sampling.temperature) == (None, None)
    assert valid.scope is ResolutionScope.IMAGE


@pytest.mark.parametrize("drawn_of", [lambda v: v.request_id, lambda v: v.sampling.seed])
def test_names_and_seeds_are_drawn_anew(drawn_of: Callable[[ValidRequest], Any]) -> None:
    drawn = {drawn_of(validate(wire())) for _ in range(20)}
    assert len(drawn) == 20
    assert all(value for value in drawn)


def test_a_drawn_seed_is_within_bounds() -> None:
    assert all(0 <= validate(wire()).sampling.seed <= MAX_SEED for _ in range(20))


@pytest.mark.parametrize("request_id", ["x" * 128, "a b/c:~", "0"])
def test_a_given_name_is_kept(request_id: str) -> None:
    assert validate(wire(request_id=request_id)).request_id == request_id


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_tokens": 1, "temperature": 0.0, "seed": 0}, (1, 0.0, 0)),
        (
            {"max_tokens": 2**32 - 1, "temperature": 2.0, "seed": MAX_SEED},
            (2**32 - 1, 2.0, MAX_SEED),
        ),
    ],
)
def test_sampling_may_reach_its_bounds(
    fields: dict[str, Any], expected: tuple[int, float, int]
) -> None:
    valid = validate(sampling(**fields)).sampling
    assert (valid.max_tokens, valid.temperature, valid.seed) == expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (inference_pb2.RESOLUTION_SCOPE_UNSPECIFIED, ResolutionScope.IMAGE),
        (inference_pb2.RESOLUTION_SCOPE_REQUEST, ResolutionScope.REQUEST),
        (inference_pb2.RESOLUTION_SCOPE_IMAGE, ResolutionScope.IMAGE),
        (inference_pb2.RESOLUTION_SCOPE_ABSOLUTE, ResolutionScope.ABSOLUTE),
        (inference_pb2.RESOLUTION_SCOPE_OFF, ResolutionScope.OFF),
    ],
)
def test_every_scope_is_understood(asked: Any, expected: ResolutionScope) -> None:
    assert validate(wire(resolution_scope=asked)).scope is expected


@pytest.mark.parametrize(
    ("request_wire", "expected"),
    [
        (wire(), RequestCost(tiles=0, tokens=2 + 256, image_bytes=0)),
        (user(text("é" * 30)), RequestCost(tiles=0, tokens=20 + 256, image_bytes=0)),
        (sampling(max_tokens=9), RequestCost(tiles=0, tokens=2 + 9, image_bytes=0)),
        (sampling(max_tokens=9, n=3), RequestCost(tiles=0, tokens=2 + 27, image_bytes=0)),
        (sampling(n=2), RequestCost(tiles=0, tokens=2 + 2 * 256, image_bytes=0)),
        (sampling(max_tokens=10**9), RequestCost(tiles=0, tokens=2 + 400, image_bytes=0)),
        (
            user(image(SQUARE), image(SMALL)),
            RequestCost(
                tiles=6,
                tokens=6 * TOKENS_PER_TILE + 256,
                image_bytes=len(SQUARE) + len(SMALL),
            ),
        ),
    ],
)
def test_costs(request_wire: inference_pb2.GenerateRequest, expected: RequestCost) -> None:
    assert validate(request_wire).cost == expected


def test_tiles_and_pictures_may_reach_their_bounds() -> None:
    valid = validate(user(image(SQUARE), image(SQUARE), image(pictures.grid(3, 3))))
    assert (len(valid.images), valid.cost.tiles) == (3, 20)


@pytest.mark.parametrize("part", [text(), image(), group(), group(SMALL), inference_pb2.Part()])
@pytest.mark.parametrize("role", range(4))
def test_alone_only_a_users_message_with_text_or_pictures_is_valid(
    role: int, part: inference_pb2.Part
) -> None:
    request = wire(message(role, part))
    if role == USER and part in (text(), image(), group(SMALL)):
        assert len(validate(request).messages) == 1
    else:
        assert refusal(request)[0].startswith("messages[0]")


def test_bare_text_is_a_whole_request() -> None:
    (bare,) = validate(wire(message(NOBODY, text("Once upon")))).messages
    assert bare == PromptMessage(Role.NOBODY, (TextPart("Once upon"),))


def test_bare_text_stands_alone_and_without_pictures() -> None:
    both = wire(message(NOBODY, text()), message(USER, text()))
    assert refusal(both) == ("messages", "Bare text is the only message.")
    pictured = wire(message(NOBODY, text(), image()))
    assert refusal(pictured) == ("messages[0].parts[1]", "Only user messages may hold pictures.")


@pytest.mark.parametrize("priority", [-100, 0, 100])
def test_a_priority_is_kept(priority: int) -> None:
    assert validate(wire(priority=priority)).priority == priority


@pytest.mark.parametrize("priority", [-101, 101])
def test_a_priority_beyond_its_bounds_is_refused(priority: int) -> None:
    assert refusal(wire(priority=priority)) == (
        "priority", "priority must be from -100 to 100.",
    )  # fmt: skip


def test_a_picture_may_ask_for_fewer_tiles() -> None:
    low = inference_pb2.Image(data=SQUARE, detail=inference_pb2.IMAGE_DETAIL_LOW)
    few = inference_pb2.Image(data=SQUARE, max_tiles=2)
    valid = validate(user(*(inference_pb2.Part(image=each) for each in (low, few)), image(SQUARE)))
    assert [each.grid.num_tiles for each in valid.images] == [1, 1, 5]
    assert len({each.key for each in valid.images}) == 3
    assert valid.cost.tiles == 7


def test_options_of_a_picture_at_fault_are_named() -> None:
    wrong = inference_pb2.Part(image=inference_pb2.Image(data=SMALL, max_tiles=13))
    assert refusal(user(text(), wrong)) == (
        "messages[0].parts[1].image.max_tiles", "max_tiles must be from 1 to 12.",
    )  # fmt: skip


@pytest.mark.parametrize(("apply", "grid", "orientation"), [(False, (2, 1), 1), (True, (1, 2), 6)])
def test_the_grid_is_that_of_the_picture_as_it_will_stand(
    apply: bool, grid: tuple[int, int], orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.new("RGB", (2 * pictures.TILE, pictures.TILE)).save(stream, "JPEG", exif=exif)
    config = CONFIG.model_copy(update={"apply_orientation": apply})
    model = ServedModel("tiny", "fingerprint", MODEL, CONTEXT_TOKENS)
    request = user(image(stream.getvalue()))
    (valid,) = RequestValidator(config, model).validate(request).images
    assert (valid.grid.columns, valid.grid.rows, valid.orientation) == (*grid, orientation)


def test_thresholds_of_a_request_are_kept() -> None:
    flash = replace(MODEL, thresholds=ResolutionThresholds(0.5, 0.4))
    model = ServedModel("tiny", "fingerprint", flash, CONTEXT_TOKENS)
    validator = RequestValidator(CONFIG, model)
    assert validator.validate(wire()).thresholds == flash.thresholds
    asked = wire(resolution_relative_threshold=0.1)
    assert validator.validate(asked).thresholds == ResolutionThresholds(0.1, 0.4)
