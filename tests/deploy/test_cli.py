"""The command line up to where a cluster would start: flags, mistakes, exit codes."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli import app

USAGE_ERROR = 2
RUNTIME_ERROR = 1


def config_of(*arguments: str) -> Any:
    """The configuration that `dvd serve` would use."""
    result = CliRunner().invoke(app, ["serve", "--print-config", *arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def complaint(exit_code: int, *arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == exit_code
    assert "Traceback" not in result.output
    return result.stderr.strip()


def test_every_flag_reaches_its_key() -> None:
    flags = ["--host", "0.0.0.0", "--grpc-port", "1", "--metrics-port", "2", "--device", "cpu"]  # noqa: S104
    flags += ["--vision-replicas", "3", "--language-replicas", "4", "--address", "auto"]
    flags += ["--http-port", "5"]
    config = config_of("some/model", "--revision", "main", "--served-model-name", "m", *flags)
    assert (config["model"], config["revision"]) == ("some/model", "main")
    assert config["served_model_name"] == "m"
    router = config["router"]
    assert (router["host"], router["grpc_port"], router["metrics_port"]) == ("0.0.0.0", 1, 2)  # noqa: S104
    assert router["http_port"] == 5
    assert config["device"] == "cpu"
    assert config["vision"]["placement"]["replicas"] == 3
    assert config["language"]["placement"]["replicas"] == 4
    assert config["ray"]["address"] == "auto"


def test_the_port_is_the_http_port() -> None:
    assert config_of("--port", "7")["router"]["http_port"] == 7


def test_users_of_other_systems_may_say_encoder() -> None:
    assert config_of("--encoder-replicas", "2")["vision"]["placement"]["replicas"] == 2


@pytest.mark.parametrize("flag", ["--tensor-parallel-size", "--tp"])
def test_gpus_of_a_language_replica_go_by_the_names_that_people_know(flag: str) -> None:
    assert config_of(flag, "4")["language"]["placement"]["tensor_parallel_size"] == 4


def test_set_reaches_any_key_and_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "dvd.yaml"
    file.write_text("router: {max_requests: 1}\nlanguage: {service: {kv_tokens: 2}}\n")
    config = config_of("--config", str(file), "--set", "language.service.kv_tokens=3")
    assert config["router"]["max_requests"] == 1
    assert config["language"]["service"]["kv_tokens"] == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "router.grpcport=1"], "Unknown key router.grpcport; did you mean router.grpc"),
        (["--set", "router"], "--set takes key=value"),
        (["--device", "tpu"], "device: Input should be 'auto', 'cpu' or 'cuda'"),
        (["--config", "no_such.yaml"], "Cannot read the configuration file no_such.yaml."),
        (["--grpc-port", "70000"], "router.grpc_port: Input should be less than"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(arguments: list[str], words: str) -> None:
    assert words in complaint(USAGE_ERROR, "serve", *arguments)


@pytest.mark.parametrize("name", ["no_such.png", "[/tmp].png", "[n, 24]", ":warning:.png"])
def test_a_picture_that_is_not_there_is_named_as_it_was_typed(name: str) -> None:
    assert complaint(USAGE_ERROR, "ask", name, "What is this?") == (
        f"{name} is no picture file; the question comes last, in quotes."
    )


def test_a_long_name_is_not_broken() -> None:
    name = f"{'long/' * 40}name.png"
    assert name in complaint(USAGE_ERROR, "ask", name, "What is this?")


def test_an_unknown_scope_names_those_that_are_known() -> None:
    words = complaint(USAGE_ERROR, "ask", "--resolution", "tile", "Hello?")
    assert words == "--resolution is one of request, image, absolute, off."


def test_without_a_cluster_ask_says_how_to_start_one() -> None:
    words = complaint(RUNTIME_ERROR, "ask", "--server", "127.0.0.1:1", "Hello?")
    assert "Is a cluster serving at 127.0.0.1:1? Start one with: dvd serve" in words


def test_without_a_command_it_shows_its_help() -> None:
    shown = CliRunner().invoke(app, []).output
    assert all(command in shown for command in ("serve", "ask", "demo", "version"))


def test_it_knows_its_version() -> None:
    assert CliRunner().invoke(app, ["version"]).stdout.startswith("dvd ")
