"""An HTTP server that answers like a Prometheus, with series that a test gives it."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Arguments = Mapping[str, str]
Answer = Callable[[str, Arguments], Any]


class Handler(BaseHTTPRequestHandler):
    """Answers every call by the server's own answer."""

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        arguments = {key: values[0] for key, values in parse_qs(address.query).items()}
        document = self.server.answer(address.path, arguments)  # type: ignore[attr-defined]
        is_error = isinstance(document, dict) and "error" in document
        status = HTTPStatus.BAD_REQUEST if is_error else HTTPStatus.OK
        whole = document if is_error else {"status": "success", "data": document}
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(whole).encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def canned_prometheus(answer: Answer) -> Iterator[str]:
    """Serve for the length of the context; yields `host:port`.

    Args:
        answer: Makes the data of an answer from path and arguments; a dict with `error` is one.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answer = answer  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def matrix(*series: tuple[Mapping[str, str], list[tuple[float, str]]]) -> dict[str, Any]:
    """The data of an answer to a range query."""
    result = [{"metric": labels, "values": values} for labels, values in series]
    return {"resultType": "matrix", "result": result}
