"""`dvd ask`: pictures and a question to a running cluster, the answer as it comes."""

from pathlib import Path

from rich.console import Console

from common.errors import ConfigError, UnavailableError
from common.types import ResolutionScope
from deploy.client import InferenceClient, ask_about
from deploy.report import print_usage
from protos.dvd.v1 import inference_pb2

SCOPES = {
    ResolutionScope.REQUEST: inference_pb2.RESOLUTION_SCOPE_REQUEST,
    ResolutionScope.IMAGE: inference_pb2.RESOLUTION_SCOPE_IMAGE,
    ResolutionScope.ABSOLUTE: inference_pb2.RESOLUTION_SCOPE_ABSOLUTE,
    ResolutionScope.OFF: inference_pb2.RESOLUTION_SCOPE_OFF,
}


async def ask_and_show(
    console: Console, server: str, words: list[str], max_tokens: int | None, scope: str | None
) -> None:
    """Stream one answer to the terminal, then usage and timings.

    Args:
        console: Where to show it.
        server: `host:port` of a router.
        words: Picture files, then the question.
        max_tokens: Answer limit; None for the server's.
        scope: Scope of the visual resolution router; None for the server's.

    Raises:
        ConfigError: A picture file is missing, or the scope is unknown.
        DvdError: What the router answered.
    """
    *names, question = words
    request = ask_about([_picture(name) for name in names], question, max_tokens, _scope(scope))
    client = InferenceClient(server)
    try:
        async for response in client.stream(request):
            if response.HasField("delta"):
                text = response.delta.text
                console.print(text, end="", markup=False, emoji=False, soft_wrap=True)
            elif response.HasField("finished"):
                console.print()
                print_usage(console, response.finished)
    except UnavailableError as error:
        raise UnavailableError(
            f"{error.message} Is a cluster serving at {server}? Start one with: dvd serve"
        ) from error
    finally:
        await client.close()


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
