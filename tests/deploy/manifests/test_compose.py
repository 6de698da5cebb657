"""Mistakes in the compose file are found, and its parts meet where they should."""

from typing import Any

import pytest
import yaml

from deploy.config import load_config
from deploy.manifests.check import COMPOSE, ROOT
from deploy.manifests.compose import check_compose
from tests.deploy.manifests.planted import Tree


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("    shm_size:", "    shmsize:", "'shmsize' was unexpected"),
        ("    shm_size: 256mb\n", "  shm_size:\n    image: x\n", "services.shm_size"),
        ("prom/prometheus:v3.5.0", "prom/prometheus:latest", "is not of one version"),
        ("prom/prometheus:v3.5.0", "prom/prometheus", "is not of one version"),
        ("../prometheus/rules:", "../prometheus/rule:", "../prometheus/rule: there is no such"),
        ("  targets:\n  prom", "  target:\n  prom", "volume targets is not declared"),
        ("--host=", "--hosts=", "No such option: --hosts"),
        ("--set=discovery_file=", "--set=discovery=", "Unknown key discovery; did you mean disc"),
        (
            "      GF_AUTH_ANON",
            "      ADMIN_PASSWORD: x\n      GF_AUTH_ANON",
            "ADMIN_PASSWORD is a",
        ),
        ("file: ./api-key", "environment: KEY", "api-key is not a file"),
        ("      - no-new-privileges:true\n", "      - label=x\n", "may gain privileges"),
        ("restart: unless-stopped", "user: root", "runs as root"),
    ],
)
def test_a_mistake_is_found(tree: Tree, right: str, wrong: str, words: str) -> None:
    tree.plant(COMPOSE, right, wrong)
    messages = [finding.message for finding in check_compose(tree.root, COMPOSE)]
    assert any(words in message for message in messages), messages


def compose() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((ROOT / COMPOSE).read_text())["services"]
    return services


def mounted(service: str) -> dict[str, str]:
    """What is mounted, by where it is in the container."""
    mounts = (mount.split(":") for mount in compose()[service]["volumes"])
    return {parts[1]: parts[0] for parts in mounts}


def test_prometheus_reads_the_list_that_the_supervisor_keeps() -> None:
    (option,) = (each for each in compose()["dvd"]["command"] if "discovery_file" in each)
    folder = option.rpartition("=")[2].removesuffix("/dvd.json")
    scraping = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    (files,) = scraping["scrape_configs"][0]["file_sd_configs"][0]["files"]
    there = mounted("prometheus")
    assert mounted("dvd")[folder] == there[f"/etc/prometheus/{files.rpartition('/')[0]}"]
    assert there["/etc/prometheus/prometheus.yml"] == "../prometheus/prometheus.yml"
    assert there[f"/etc/prometheus/{scraping['rule_files'][0].rpartition('/')[0]}"]


def test_grafana_finds_dashboards_and_prometheus_where_they_are() -> None:
    folder = ROOT / "deploy/grafana/provisioning"
    (provider,) = yaml.safe_load((folder / "dashboards/dvd.yml").read_text())["providers"]
    (source,) = yaml.safe_load((folder / "datasources/dvd.yml").read_text())["datasources"]
    there = mounted("grafana")
    assert there[provider["options"]["path"]] == "../grafana/dashboards"
    assert there["/etc/grafana/provisioning"] == "../grafana/provisioning"
    # All three share one loopback.
    assert compose()["grafana"]["network_mode"] == compose()["prometheus"]["network_mode"]
    assert source["url"] == "http://127.0.0.1:9090"
    home = compose()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / "deploy/grafana/dashboards" / home.rpartition("/")[2]).is_file()


def test_ports_are_those_of_the_configuration_that_is_mounted() -> None:
    config = load_config(ROOT / "deploy/configs/laptop.yaml", {})
    published = {int(port.rpartition(":")[2]) for port in compose()["dvd"]["ports"]}
    assert {config.router.grpc_port, config.router.own_http_port} < published
    assert mounted("dvd")["/etc/dvd/laptop.yaml"] == "../configs/laptop.yaml"


def test_the_container_is_not_killed_before_it_has_drained() -> None:
    config = load_config(ROOT / "deploy/configs/laptop.yaml", {})
    grace = compose()["dvd"]["stop_grace_period"]
    assert grace.endswith("s")
    assert int(grace.removesuffix("s")) > config.drain_seconds
