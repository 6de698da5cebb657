"""The key of the doors: the nearest source wins, and nothing shows it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from common.errors import ConfigError
from deploy.api_key import find_api_key
from deploy.cli import app


@pytest.fixture
def flag(tmp_path: Path) -> Path:
    file = tmp_path / "flag"
    file.write_text("from-flag\n")
    return file


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    file = tmp_path / "configured"
    file.write_text("from-file\n")
    return file


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(
    flag: Path, configured: Path
) -> None:
    environ = {"DVD_API_KEY": "from-environment"}
    assert find_api_key(flag, configured, environ) == "from-flag"
    assert find_api_key(None, configured, environ) == "from-environment"
    assert find_api_key(None, configured, {}) == "from-file"
    assert find_api_key(None, None, {}) == ""


@pytest.mark.parametrize("text", ["", " \n", "two words", "schlüssel", "a\nb"])
def test_what_can_be_no_key_is_refused_by_its_place(tmp_path: Path, text: str) -> None:
    file = tmp_path / "key"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=str(file)):
        find_api_key(file, None, {})
    with pytest.raises(ConfigError, match="DVD_API_KEY"):
        find_api_key(None, None, {"DVD_API_KEY": text})


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no_such_file"):
        find_api_key(tmp_path / "no_such_file", None, {})


def test_the_printed_configuration_names_the_file_and_not_the_key(configured: Path) -> None:
    flags = ["serve", "--print-config", "--set", f"api_key_file={configured}"]
    shown = CliRunner().invoke(app, flags, env={"DVD_API_KEY": "from-environment"})
    assert shown.exit_code == 0
    assert "api_key_file" in shown.output
    assert "from-file" not in shown.output
    assert "from-environment" not in shown.output
