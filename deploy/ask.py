"""`dvd ask`: pictures and a question to a running cluster, the answer as it comes."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from common.errors import ConfigError, UnavailableError
from common.types import ResolutionScope
from deploy.ask_options import AskOptions
from deploy.client import InferenceClient, ask_about_images, read_picture
from deploy.explain import Explained, check_explainable, open_picture, write_explanation
from deploy.report import print_usage
from protos.dvd.v1 import inference_pb2
from router.resolution_options import WIRE_SCOPES

DETAILS = {
    "low": inference_pb2.IMAGE_DETAIL_LOW,
    "high": inference_pb2.IMAGE_DETAIL_HIGH,
}


async def ask_and_show(console: Console, words: list[str], options: AskOptions) -> None:
    """Stream one answer to the terminal, then usage and timings.

    Args:
        console: Where to show it.
        words: Picture files, then the question.
        options: How to ask.

    Raises:
        ConfigError: A picture file is missing, an option is unknown, or nothing can be explained.
        DvdError: What the router answered.
    """
    *names, question = words
    pictures = [_picture(name) for name in names]
    if options.explain is not None:
        check_explainable(len(pictures), options.explain)
    detail = _detail(options.detail)
    images = [read_picture(file, options.max_tiles, detail) for file in pictures]
    request = ask_about_images(images, question, options.is_combined)
    request.sampling.CopyFrom(_sampling(options))
    _set_resolution(request, options)
    text, finished = await _stream(console, options, request)
    if options.explain is not None:
        picture = open_picture(pictures[0], finished.images[0].orientation)
        write_explanation(Explained(picture, question, text, finished), options.explain)
        console.print(f"[dim]explained in[/dim] {escape(str(options.explain))}")


async def _stream(
    console: Console, options: AskOptions, request: inference_pb2.GenerateRequest
) -> tuple[str, inference_pb2.GenerateFinished]:
    """Show an answer as it comes, or several when all are there; return the first whole."""
    texts = [""] * request.sampling.n
    finished: inference_pb2.GenerateFinished | None = None
    client = InferenceClient(*options.server.split(","), api_key=options.api_key)
    try:
        async for response in client.stream(request):
            if response.HasField("delta"):
                texts[response.delta.choice] += response.delta.text
                if len(texts) == 1:
                    _show(console, response.delta.text)
            elif response.HasField("finished"):
                finished = response.finished
                _show_all(console, texts)
                print_usage(console, finished)
    except UnavailableError as error:
        raise UnavailableError(
            f"{error.message} Is a cluster serving at {options.server}? Start one with: dvd serve"
        ) from error
    finally:
        await client.close()
    if finished is None:
        raise UnavailableError("The router ended without finishing the answer.")
    return texts[0], finished


def _show(console: Console, text: str) -> None:
    console.print(text, end="", markup=False, emoji=False, soft_wrap=True)


def _show_all(console: Console, texts: list[str]) -> None:
    """End the line of the one answer that has been shown, or show several, numbered."""
    if len(texts) == 1:
        console.print()
        return
    for number, text in enumerate(texts, start=1):
        console.print(f"[dim]answer {number}[/dim]")
        _show(console, f"{text}\n")


def _sampling(options: AskOptions) -> inference_pb2.SamplingParameters:
    return inference_pb2.SamplingParameters(
        max_tokens=options.max_tokens,
        temperature=options.temperature,
        top_p=options.top_p,
        seed=options.seed,
        stop=options.stop,
        n=options.num_choices,
    )


def _picture(name: str) -> Path:
    path = Path(name)
    if not path.is_file():
        raise ConfigError(f"{name} is no picture file; the question comes last, in quotes.")
    return path


def _set_resolution(request: inference_pb2.GenerateRequest, options: AskOptions) -> None:
    if options.scope is not None:
        if options.scope not in WIRE_SCOPES:
            raise ConfigError(f"--resolution is one of {', '.join(WIRE_SCOPES)}.")
        request.resolution_scope = WIRE_SCOPES[ResolutionScope(options.scope)]
    if options.relative_threshold is not None:
        request.resolution_relative_threshold = options.relative_threshold
    if options.absolute_threshold is not None:
        request.resolution_absolute_threshold = options.absolute_threshold


def _detail(name: str | None) -> inference_pb2.ImageDetail:
    if name is None:
        return inference_pb2.IMAGE_DETAIL_UNSPECIFIED
    if name not in DETAILS:
        raise ConfigError(f"--detail is one of {', '.join(DETAILS)}.")
    return DETAILS[name]
