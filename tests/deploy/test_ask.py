"""`dvd ask`: what reaches the router, and what reaches the terminal."""

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from common.errors import ConfigError, InvalidRequestError, UnavailableError
from deploy.ask import ask_and_show
from deploy.ask_options import AskOptions
from deploy.cli import app
from protos.dvd.v1 import inference_pb2, inference_pb2_grpc
from tests import pictures
from tests.loopback import serving

ADD = inference_pb2_grpc.add_InferenceServiceServicer_to_server
ODD_TEXT = ("[bold]plain[/bold] ", ":warning: ", "[/] ", "line\nbreak ", "word " * 60)


class Router(inference_pb2_grpc.InferenceServiceServicer):
    """Says the given words, or raises."""

    def __init__(self, *words: str, error: Exception | None = None) -> None:
        self.words = words
        self.error = error
        self.asked: list[Any] = []

    async def Generate(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        self.asked.append(request)
        for text in self.words:
            delta = inference_pb2.GenerateDelta(text=text)
            yield inference_pb2.GenerateResponse(delta=delta)
        if self.error is not None:
            raise self.error
        usage = inference_pb2.Usage(text_tokens=17)
        finished = inference_pb2.GenerateFinished(usage=usage)
        yield inference_pb2.GenerateResponse(finished=finished)


async def ask(router: Router, *words: str, **options: Any) -> str:
    """What a terminal without colours shows."""
    stream = io.StringIO()
    console = Console(file=stream, width=80, color_system=None, highlight=False)
    async with serving(ADD, router) as loopback:
        await ask_and_show(console, list(words), AskOptions(loopback.address, 5, **options))
    return stream.getvalue()


async def test_the_answer_is_shown_letter_by_letter_and_then_the_usage() -> None:
    shown = await ask(Router("Hel", "lo."), "Hello?")
    assert shown.startswith("Hello.\n")
    assert "text tokens 17" in shown


async def test_an_answer_is_never_read_as_markup_or_wrapped() -> None:
    shown = await ask(Router(*ODD_TEXT), "Hello?")
    assert shown.startswith("".join(ODD_TEXT))


async def test_pictures_question_limit_and_scope_reach_the_router(tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    file.write_bytes(pictures.blank(9, 9))
    router = Router("A square.")
    await ask(router, str(file), "What is this?", scope="off")
    (request,) = router.asked
    image, question = request.messages[0].parts
    assert (image.image.data, question.text) == (file.read_bytes(), "What is this?")
    assert request.sampling.max_tokens == 5
    assert request.resolution_scope == inference_pb2.RESOLUTION_SCOPE_OFF


async def test_sampling_options_reach_the_router_and_what_is_open_stays_open() -> None:
    router = Router("a")
    await ask(router, "Hello?")
    await ask(router, "Hello?", temperature=0.5, top_p=0.25, seed=3, stop=("x", "y"), num_choices=2)
    plain, chosen = (request.sampling for request in router.asked)
    assert plain == inference_pb2.SamplingParameters(max_tokens=5, temperature=0.0, n=1)
    assert chosen == inference_pb2.SamplingParameters(
        max_tokens=5, temperature=0.5, top_p=0.25, seed=3, stop=["x", "y"], n=2
    )


async def test_flags_of_the_command_reach_the_router() -> None:
    router = Router("a")
    flags = "--max-tokens 5 --temperature 0.5 --top-p 0.25 --seed 3 --stop x --stop y --n 2"
    async with serving(ADD, router) as loopback:
        words = ["ask", "--server", loopback.address, *flags.split(), "Hello?"]
        result = await asyncio.to_thread(CliRunner().invoke, app, words)
    assert result.exit_code == 0
    (request,) = router.asked
    assert request.sampling == inference_pb2.SamplingParameters(
        max_tokens=5, temperature=0.5, top_p=0.25, seed=3, stop=["x", "y"], n=2
    )


async def test_flags_about_pictures_and_resolution_reach_the_router(tmp_path: Path) -> None:
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for file in files:
        file.write_bytes(pictures.blank(9, 9))
    router = Router("a")
    flags = "--max-tiles 3 --combine --relative-threshold 0.25 --absolute-threshold 0.5"
    async with serving(ADD, router) as loopback:
        words = ["ask", "--server", loopback.address, *flags.split(), *map(str, files), "Hello?"]
        result = await asyncio.to_thread(CliRunner().invoke, app, words)
    assert result.exit_code == 0
    (request,) = router.asked
    group, question = request.messages[0].parts
    assert [image.max_tiles for image in group.image_group.images] == [3, 3]
    assert question.text == "Hello?"
    assert request.resolution_relative_threshold == 0.25
    assert request.resolution_absolute_threshold == 0.5


@pytest.mark.parametrize(
    ("detail", "expected"),
    [(None, inference_pb2.IMAGE_DETAIL_UNSPECIFIED), ("low", inference_pb2.IMAGE_DETAIL_LOW),
     ("high", inference_pb2.IMAGE_DETAIL_HIGH)],
)  # fmt: skip
async def test_detail_reaches_the_router(tmp_path: Path, detail: str | None, expected: Any) -> None:
    file = tmp_path / "picture.png"
    file.write_bytes(pictures.blank(9, 9))
    router = Router("a")
    await ask(router, str(file), "What is this?", detail=detail)
    (request,) = router.asked
    assert request.messages[0].parts[0].image.detail == expected
    assert not request.HasField("resolution_relative_threshold")
    assert not request.messages[0].parts[0].image.HasField("max_tiles")


async def test_an_unknown_detail_is_told() -> None:
    with pytest.raises(ConfigError, match="--detail is one of low, high"):
        await ask(Router(), "Hello?", detail="medium")


class TwoAnswers(Router):
    """Gives two answers, word by word in turn."""

    async def Generate(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        for choice, text in ((0, "one "), (1, "two "), (1, "[b]"), (0, "more")):
            delta = inference_pb2.GenerateDelta(text=text, choice=choice)
            yield inference_pb2.GenerateResponse(delta=delta)
        yield inference_pb2.GenerateResponse(finished=inference_pb2.GenerateFinished())


async def test_several_answers_are_shown_one_after_the_other() -> None:
    shown = await ask(TwoAnswers(), "Hello?", num_choices=2)
    assert shown.startswith("answer 1\none more\nanswer 2\ntwo [b]\n")


@pytest.mark.parametrize("words", [("no_such.png", "What?"), (".", "What?")])
async def test_a_picture_must_be_a_file(words: tuple[str, ...]) -> None:
    router = Router()
    with pytest.raises(ConfigError, match="is no picture file; the question comes last"):
        await ask(router, *words)
    assert router.asked == []


async def test_an_unknown_scope_is_told() -> None:
    with pytest.raises(ConfigError, match="--resolution is one of request, image, absolute, off"):
        await ask(Router(), "Hello?", scope="tile")


async def test_a_refusal_is_passed_on_as_it_is() -> None:
    error = InvalidRequestError("The prompt is too long.", "messages")
    with pytest.raises(InvalidRequestError, match=r"^The prompt is too long\.$"):
        await ask(Router("a", error=error), "Hello?")


async def test_an_unavailable_cluster_is_named() -> None:
    error = UnavailableError("No vision replica is ready.")
    with pytest.raises(UnavailableError) as caught:
        await ask(Router(error=error), "Hello?")
    assert caught.value.message.startswith("No vision replica is ready. Is a cluster serving at")
