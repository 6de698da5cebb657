"""A stage is complete when it left its losses; commands set device and threads."""

import argparse
from pathlib import Path

import torch

from training.run import write_losses
from training.stage import LOSSES_FILE, StageFolders, add_common_arguments, set_up


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_common_arguments(parser)
    return parser.parse_args(words)


def test_a_stage_is_complete_when_its_losses_are_written(tmp_path: Path) -> None:
    folders = StageFolders(tmp_path / "start", tmp_path)
    (tmp_path / "config.json").touch()
    assert not folders.is_complete
    write_losses([1.0], tmp_path / LOSSES_FILE)
    assert folders.is_complete


def test_a_command_says_where_to_read_and_write() -> None:
    arguments = parsed("out", "--start", "before", "--steps", "5")
    assert (arguments.out, arguments.start, arguments.steps) == (Path("out"), Path("before"), 5)
    assert parsed("out").start is None


def test_threads_are_set_only_where_they_are_named() -> None:
    before = torch.get_num_threads()
    try:
        assert set_up(parsed("out")) == torch.device("cpu")
        assert torch.get_num_threads() == before
        assert (
            set_up(parsed("out", "--threads", str(before + 1), "--device", "meta")).type == "meta"
        )
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
