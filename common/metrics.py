"""One Prometheus registry per process, served at `/metrics`.

Services record facts as plain numbers; their own `metrics` modules declare what is exported.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, disable_created_metrics, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from common.errors import ConfigError

disable_created_metrics()  # type: ignore[no-untyped-call]

NO_PAGES: Mapping[str, Callable[[], bytes]] = {}


class QuietHandler(WSGIRequestHandler):
    """Logs no scrapes."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Log nothing."""


@dataclass(frozen=True, slots=True)
class MetricsServer:
    """A running `/metrics` endpoint.

    Attributes:
        port: Port it listens on.
        server: The HTTP server.
        thread: The thread that it runs in.
    """

    port: int
    server: WSGIServer
    thread: Thread

    def close(self) -> None:
        """Stop serving and join."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def serve_metrics(
    registry: CollectorRegistry,
    host: str,
    port: int = 0,
    pages: Mapping[str, Callable[[], bytes]] = NO_PAGES,
) -> MetricsServer:
    """Serve a registry over HTTP from a background thread.

    Args:
        registry: What to export.
        host: Address to listen on.
        port: 0 for a free one.
        pages: What to answer, in JSON, at other paths than `/metrics`.

    Raises:
        ConfigError: The address is taken or not ours.
    """
    app = _with_pages(make_wsgi_app(registry), pages)
    try:
        server = make_server(host, port, app, ThreadingWSGIServer, QuietHandler)
    except OSError as cause:
        raise ConfigError(f"Cannot listen on {host}:{port}; is the port in use?") from cause
    thread = Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    return MetricsServer(server.server_port, server, thread)


def _with_pages(
    metrics: WSGIApplication, pages: Mapping[str, Callable[[], bytes]]
) -> WSGIApplication:
    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        page = pages.get(environ["PATH_INFO"])
        if page is None:
            return metrics(environ, start_response)
        start_response("200 OK", [("Content-Type", "application/json")])
        return [page()]

    return answer
