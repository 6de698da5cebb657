"""The `/metrics` endpoint over a real connection."""

import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Counter

from common.errors import ConfigError
from common.metrics import MetricsServer, serve_metrics
from tests.loopback import HOST


def scrape(server: MetricsServer) -> list[str]:
    url = f"http://{HOST}:{server.port}/metrics"
    with urllib.request.urlopen(url, timeout=5) as response:
        text: str = response.read().decode()
    return text.splitlines()


def counter(registry: CollectorRegistry) -> Counter:
    return Counter("dvd_things", "Things.", registry=registry)


def test_it_serves_its_registry_as_it_is_now() -> None:
    registry = CollectorRegistry()
    things = counter(registry)
    server = serve_metrics(registry, HOST)
    assert "dvd_things_total 0.0" in scrape(server)
    things.inc(3)
    assert "dvd_things_total 3.0" in scrape(server)
    server.close()


def test_it_serves_nothing_else_and_no_creation_times() -> None:
    registry = CollectorRegistry()
    counter(registry)
    server = serve_metrics(registry, HOST)
    samples = [line for line in scrape(server) if not line.startswith("#")]
    server.close()
    assert samples == ["dvd_things_total 0.0"]


def test_two_registries_do_not_mix() -> None:
    counted, empty = CollectorRegistry(), CollectorRegistry()
    counter(counted)
    server = serve_metrics(empty, HOST)
    assert scrape(server) == []
    server.close()


def test_closing_frees_the_port_and_ends_the_thread() -> None:
    server = serve_metrics(CollectorRegistry(), HOST)
    server.close()
    assert not server.thread.is_alive()
    with pytest.raises(urllib.error.URLError):
        scrape(server)


def test_a_port_in_use_is_a_configuration_error() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"Cannot listen on {HOST}:{port}"):
            serve_metrics(CollectorRegistry(), HOST, port)


def test_other_pages_stand_beside_the_metrics() -> None:
    registry = CollectorRegistry()
    counter(registry)
    server = serve_metrics(registry, HOST, pages={"/list": lambda: b"[1]"})
    with urllib.request.urlopen(f"http://{HOST}:{server.port}/list", timeout=5) as response:
        assert response.read() == b"[1]"
    assert "dvd_things_total 0.0" in scrape(server)
    server.close()
