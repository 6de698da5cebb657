"""One Prometheus registry per process, served at `/metrics`.

Services record facts as plain numbers; their own `metrics` modules declare what is exported.
"""

from dataclasses import dataclass
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, disable_created_metrics, start_http_server

from common.errors import ConfigError

disable_created_metrics()  # type: ignore[no-untyped-call]


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


def serve_metrics(registry: CollectorRegistry, host: str, port: int = 0) -> MetricsServer:
    """Serve a registry over HTTP from a background thread.

    Args:
        registry: What to export.
        host: Address to listen on.
        port: 0 for a free one.

    Raises:
        ConfigError: The address is taken or not ours.
    """
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as cause:
        raise ConfigError(f"Cannot listen on {host}:{port}; is the port in use?") from cause
    return MetricsServer(server.server_port, server, thread)
