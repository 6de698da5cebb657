"""A deployment's configuration: YAML, then the command line, and words for every mistake."""

from pathlib import Path
from typing import Any

import pytest

from common.errors import ConfigError
from common.types import ResolutionScope
from deploy.config import DEFAULT_MODEL, DeployConfig, load_config, parse_assignment


@pytest.fixture
def yaml_file(tmp_path: Path) -> Path:
    return tmp_path / "dvd.yaml"


def load(file: Path, text: str, **overrides: Any) -> DeployConfig:
    """Load a file of this text; `__` in an override's key stands for a dot."""
    file.write_text(text, encoding="utf-8")
    return load_config(file, {key.replace("__", "."): value for key, value in overrides.items()})


def complaint(file: Path, text: str, **overrides: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(file, text, **overrides)
    return caught.value.message


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "---\n"])
def test_an_empty_file_is_all_defaults(yaml_file: Path, text: str) -> None:
    assert load(yaml_file, text) == load_config(None, {}) == DeployConfig()


def test_a_file_sets_what_it_names(yaml_file: Path) -> None:
    text = "vision:\n  placement: {replicas: 3}\nrouter:\n  resolution_scope: image\n"
    config = load(yaml_file, text)
    assert config.vision.placement.replicas == 3
    assert config.router.resolution_scope is ResolutionScope.IMAGE
    assert config.language == DeployConfig().language


def test_the_command_line_wins_over_the_file_and_leaves_its_neighbours(yaml_file: Path) -> None:
    text = "router: {grpc_port: 1000, metrics_port: 2000}"
    config = load(yaml_file, text, router__grpc_port=3000, device="cpu")
    assert (config.router.grpc_port, config.router.metrics_port) == (3000, 2000)
    assert config.device == "cpu"


def test_the_command_line_makes_sections_that_the_file_has_not(yaml_file: Path) -> None:
    config = load(yaml_file, "device: cpu", vision__service__max_batch_tiles=4)
    assert config.vision.service.max_batch_tiles == 4


def test_a_section_that_yaml_shares_is_overridden_in_one_place_only(yaml_file: Path) -> None:
    text = "vision: {placement: &both {replicas: 2}}\nlanguage: {placement: *both}\n"
    config = load(yaml_file, text, vision__placement__replicas=5)
    assert config.vision.placement.replicas == 5
    assert config.language.placement.replicas == 2


@pytest.mark.parametrize(
    ("text", "wrong", "right"),
    [
        ("visoin: {}", "visoin", "vision"),
        ("routr: 1", "routr", "router"),
        ("router: {grpcport: 1}", "router.grpcport", "router.grpc_port"),
        ("router: {images: {max_byte: 1}}", "router.images.max_byte", "router.images.max_bytes"),
        (
            "vision: {placement: {replica: 1}}",
            "vision.placement.replica",
            "vision.placement.replicas",
        ),
        (
            "language: {service: {max_batch_tiles: 1}}",
            "language.service.max_batch_tiles",
            "language.service.max_batch_tokens",
        ),
        ("ray: {adress: x}", "ray.adress", "ray.address"),
    ],
)
def test_an_unknown_key_names_the_nearest(
    yaml_file: Path, text: str, wrong: str, right: str
) -> None:
    assert complaint(yaml_file, text) == f"Unknown key {wrong}; did you mean {right}?"


def test_an_unknown_key_of_the_command_line_names_the_nearest(yaml_file: Path) -> None:
    assert complaint(yaml_file, "", router__grpc_prt=1) == (
        "Unknown key router.grpc_prt; did you mean router.grpc_port?"
    )


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("device: tpu", "device: Input should be 'auto', 'cpu' or 'cuda'"),
        ("router: {grpc_port: 70000}", "router.grpc_port: Input should be less than or equal to"),
        ("vision: {placement: {replicas: 0}}", "vision.placement.replicas: Input should be gr"),
        ("vision: {placement: {num_cpus: many}}", "vision.placement.num_cpus: Input should be a"),
        ("router: 5", "router: Input should be"),
        ("drain_seconds: -1", "drain_seconds: Input should be greater than or equal to 0"),
        ("ray: {auth_mode: none}", "ray.auth_mode: Input should be 'token' or 'disabled'"),
        ("1: 2", "1: Keys should be strings"),
        (
            "language: {placement: {tensor_parallel_size: 2, num_gpus: 0.5}}",
            "language.placement: Value error, each rank takes one GPU",
        ),
        (
            "language: {placement: {tensor_parallel_size: 2}, service: {compile: true}}",
            "language: Value error, compile goes with",
        ),
        ("vision: {placement: {tensor_parallel_size: 2}}", "Unknown key vision.placement.tensor"),
    ],
)
def test_a_wrong_value_names_its_key(yaml_file: Path, text: str, start: str) -> None:
    assert complaint(yaml_file, text).startswith(start)


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (
            "router: 5",
            {"router__grpc_port": 1},
            "router.grpc_port is set, but router is not a section.",
        ),
        ("", {"device__x": 1}, "device: Input should be"),
        ("device: cpu", {"device__x__y": 1}, "device.x.y is set, but device is not a section."),
    ],
)
def test_a_value_is_no_section(
    yaml_file: Path, text: str, overrides: dict[str, Any], message: str
) -> None:
    assert complaint(yaml_file, text, **overrides).startswith(message)


@pytest.mark.parametrize("text", ["router: {grpc_port: 1", "a: b: c", "\t- x", "!!python/none x"])
def test_what_is_no_yaml_is_told_without_library_text(yaml_file: Path, text: str) -> None:
    assert complaint(yaml_file, text) == f"{yaml_file} is not valid YAML."


def test_what_is_no_text_is_told(yaml_file: Path) -> None:
    yaml_file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not valid YAML"):
        load_config(yaml_file, {})


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "words", "5"])
def test_a_file_without_keys_is_told(yaml_file: Path, text: str) -> None:
    assert complaint(yaml_file, text) == f"{yaml_file} must hold keys and values."


def test_a_file_that_is_not_there_is_told(yaml_file: Path) -> None:
    with pytest.raises(ConfigError, match=f"Cannot read the configuration file {yaml_file}"):
        load_config(yaml_file, {})


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Cannot read"):
        load_config(tmp_path, {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("router.grpc_port=50051", ("router.grpc_port", 50051)),
        ("served_model_name=my model", ("served_model_name", "my model")),
        ("ray.address=null", ("ray.address", None)),
        ("language.service.max_context_tokens=", ("language.service.max_context_tokens", None)),
        ("model=a=b", ("model", "a=b")),
        ("vision.placement={replicas: 2}", ("vision.placement", {"replicas": 2})),
        (" device = cpu", ("device", "cpu")),
    ],
)
def test_an_assignment_is_a_key_and_a_yaml_value(text: str, expected: tuple[str, Any]) -> None:
    assert parse_assignment(text) == expected


@pytest.mark.parametrize("text", ["router.grpc_port", "", "=5", " =5"])
def test_an_assignment_needs_both_sides(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_assignment(text)
    assert caught.value.message == (
        f"--set takes key=value, such as router.grpc_port=50051; got {text!r}."
    )


def test_an_assignments_value_must_be_yaml() -> None:
    with pytest.raises(ConfigError, match=r"The value of router\.images is not valid YAML\."):
        parse_assignment("router.images={max_bytes")


@pytest.mark.parametrize(
    ("model", "served_model_name", "expected"),
    [
        (DEFAULT_MODEL, None, "internvl3_5-tiny-flash"),
        ("OpenGVLab/InternVL3_5-8B", None, "InternVL3_5-8B"),
        ("/models/tiny/", None, "tiny"),
        ("tiny", None, "tiny"),
        ("/models/tiny", "mine", "mine"),
    ],
)
def test_the_models_name(model: str, served_model_name: str | None, expected: str) -> None:
    assert DeployConfig(model=model, served_model_name=served_model_name).model_name == expected


def test_every_router_has_ports_of_its_own() -> None:
    config = DeployConfig.model_validate({"router": {"grpc_port": 60, "metrics_port": 0}})
    assert [config.router_config(index).grpc_port for index in range(3)] == [60, 61, 62]
    assert config.router_config(2).metrics_port == 0
    assert [config.router_config(index).http_port for index in range(3)] == [8000, 8001, 8002]


@pytest.mark.parametrize(
    ("keys", "port"), [({}, 8000), ({"grpc_port": 0}, 0), ({"grpc_port": 0, "http_port": 7}, 7)]
)
def test_a_free_grpc_port_comes_with_a_free_http_port(keys: dict[str, int], port: int) -> None:
    config = DeployConfig.model_validate({"router": keys})
    assert config.router_config(0).http_port == port


@pytest.mark.parametrize(
    ("keys", "port"),
    [({}, 50050), ({"router": {"grpc_port": 0}}, 0), ({"control_port": 7}, 7)],
)
def test_the_supervisor_listens_below_the_first_router(keys: dict[str, object], port: int) -> None:
    assert DeployConfig.model_validate(keys).own_control_port == port
