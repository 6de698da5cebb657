"""A state comes back exactly as it was, and is replaced as a whole."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from training.optimizer import TwoOptimizers
from training.run_state import RunState

LOSSES = [0.1 + 0.2, 1e-9, 3.0]


def modules(seed: int) -> dict[str, nn.Module]:
    """Two whose prefixes begin alike."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return {"net": nn.ModuleDict({"mlp1": nn.Linear(4, 4)}), "net2": nn.Linear(4, 2)}


def optimizers(trained: dict[str, nn.Module]) -> TwoOptimizers:
    named = [pair for module in trained.values() for pair in module.named_parameters()]
    return TwoOptimizers(named, 0.02, 0.01)


def step(trained: dict[str, nn.Module], both: TwoOptimizers) -> None:
    inputs = torch.arange(8.0).reshape(2, 4)
    hidden = trained["net"]["mlp1"](inputs)  # type: ignore[index]
    both.step(trained["net2"](hidden).square().mean(), 1.0)


def equal(one: dict[str, nn.Module], other: dict[str, nn.Module]) -> bool:
    pairs = [
        (tensor, other[name].state_dict()[key])
        for name in one
        for key, tensor in one[name].state_dict().items()
    ]
    return all(torch.equal(a, b) for a, b in pairs)


def test_nothing_is_restored_where_nothing_was_saved(tmp_path: Path) -> None:
    trained = modules(1)
    assert RunState(tmp_path / "state", trained).load(optimizers(trained)) == []
    assert equal(trained, modules(1))


def test_weights_optimizers_and_losses_come_back(tmp_path: Path) -> None:
    trained = modules(1)
    both = optimizers(trained)
    for _ in range(3):
        step(trained, both)
    RunState(tmp_path / "new" / "state.safetensors", trained).save(both, LOSSES)
    fresh = modules(2)
    restored = optimizers(fresh)
    assert RunState(tmp_path / "new" / "state.safetensors", fresh).load(restored) == LOSSES
    assert equal(fresh, trained)
    for _ in range(3):
        step(trained, both)
        step(fresh, restored)
    assert equal(fresh, trained)


def test_a_reader_finds_the_old_state_or_the_new_one(tmp_path: Path) -> None:
    trained = modules(1)
    both = optimizers(trained)
    file = tmp_path / "state.safetensors"
    state = RunState(file, trained)
    state.save(both, [1.0])
    old = trained["net2"].state_dict()["weight"].clone()
    with safe_open(file, "pt") as reader:
        step(trained, both)
        state.save(both, [1.0, 2.0])
        assert torch.equal(reader.get_tensor("net2.weight"), old)
    assert not torch.equal(trained["net2"].state_dict()["weight"], old)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_what_cannot_be_saved_leaves_the_old_state(tmp_path: Path) -> None:
    trained = modules(1)
    both = optimizers(trained)
    file = tmp_path / "state.safetensors"
    RunState(file, trained).save(both, LOSSES)
    before = file.read_bytes()
    tied = nn.Linear(2, 2, bias=False)
    with pytest.raises(RuntimeError, match="share"):
        RunState(file, trained | {"a": tied, "b": tied}).save(both, [])
    assert file.read_bytes() == before


def test_a_state_cut_off_in_writing_is_not_read(tmp_path: Path) -> None:
    trained = modules(1)
    both = optimizers(trained)
    state = RunState(tmp_path / "state.safetensors", trained)
    (tmp_path / "state.new").write_bytes(b"half")
    assert state.load(both) == []
    state.save(both, LOSSES)
    assert state.load(both) == LOSSES


def test_a_removed_state_is_gone(tmp_path: Path) -> None:
    trained = modules(1)
    state = RunState(tmp_path / "state.safetensors", trained)
    state.remove()
    state.save(optimizers(trained), LOSSES)
    state.remove()
    assert state.load(optimizers(trained)) == []


def test_a_state_of_other_modules_is_refused(tmp_path: Path) -> None:
    trained = modules(1)
    file = tmp_path / "state.safetensors"
    RunState(file, trained).save(optimizers(trained), LOSSES)
    other = modules(1) | {"net2": nn.Linear(4, 3)}
    with pytest.raises(RuntimeError, match="size mismatch"):
        RunState(file, other).load(optimizers(other))
