"""`dvd ask`: pictures and a question to a running cluster, the answer as it comes."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from common.errors import ConfigError, UnavailableError
from common.types import ResolutionScope
from deploy.client import InferenceClient, ask_about
from deploy.explain import Explained, check_explainable, open_picture, write_explanation
from deploy.report import print_usage
from protos.dvd.v1 import inference_pb2

SCOPES = {
    ResolutionScope.REQUEST: inference_pb2.RESOLUTION_SCOPE_REQUEST,
    ResolutionScope.IMAGE: inference_pb2.RESOLUTION_SCOPE_IMAGE,
    ResolutionScope.ABSOLUTE: inference_pb2.RESOLUTION_SCOPE_ABSOLUTE,
    ResolutionScope.OFF: inference_pb2.RESOLUTION_SCOPE_OFF,
}


@dataclass(frozen=True, slots=True)
class AskOptions:
    """How to ask, and what to make of the answer.

    Attributes:
        server: `host:port` of a router.
        max_tokens: Answer limit; None for the server's.
        scope: Scope of the visual resolution router; None for the server's.
        explain: File to draw tiles, scores and resolutions into; None for no drawing.
    """

    server: str
    max_tokens: int | None = None
    scope: str | None = None
    explain: Path | None = None


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
    request = ask_about(pictures, question, options.max_tokens, _scope(options.scope))
    text, finished = await _stream(console, options.server, request)
    if options.explain is not None:
        picture = open_picture(pictures[0])
        write_explanation(Explained(picture, question, text, finished), options.explain)
        console.print(f"[dim]explained in[/dim] {escape(str(options.explain))}")


async def _stream(
    console: Console, server: str, request: inference_pb2.GenerateRequest
) -> tuple[str, inference_pb2.GenerateFinished]:
    """Show an answer as it comes; return all of it."""
    text = ""
    finished: inference_pb2.GenerateFinished | None = None
    client = InferenceClient(server)
    try:
        async for response in client.stream(request):
            if response.HasField("delta"):
                delta = response.delta.text
                console.print(delta, end="", markup=False, emoji=False, soft_wrap=True)
                text += delta
            elif response.HasField("finished"):
                finished = response.finished
                console.print()
                print_usage(console, finished)
    except UnavailableError as error:
        raise UnavailableError(
            f"{error.message} Is a cluster serving at {server}? Start one with: dvd serve"
        ) from error
    finally:
        await client.close()
    if finished is None:
        raise UnavailableError("The router ended without finishing the answer.")
    return text, finished


def _picture(name: str) -> Path:
    path = Path(name)
    if not path.is_file():
        raise ConfigError(f"{name} is no picture file; the question comes last, in quotes.")
    return path


def _scope(name: str | None) -> inference_pb2.ResolutionScope | None:
    if name is None:
        return None
    if name not in SCOPES:
        raise ConfigError(f"--resolution is one of {', '.join(SCOPES)}.")
    return SCOPES[ResolutionScope(name)]
