"""Matrices take Muon's steps, everything else AdamW's, both on one schedule."""

import pytest
import torch
from torch import nn

from training.optimizer import TwoOptimizers, warm_up_then_decay

MUON, ADAM = 0.02, 0.003
MATRICES = [
    "vision.vision_model.encoder.layer.0.attention.q_proj.weight",
    "language.model.layers.2.mlp.gate_proj.weight",
    "vision.mlp1.1.weight",
    "vision.mlp2.4.weight",
    "vision.gating.block3.0.weight",
]
OTHERS = [
    "language.model.embed_tokens.weight",
    "language.lm_head.weight",
    "vision.gating.gate.1.weight",
    "vision.pooling_before_gating.attn1.in_proj_weight",
    "heads.character.weight",
]


def first_step(name: str, shape: tuple[int, ...] = (16, 16), share: float = 1.0) -> torch.Tensor:
    """How a parameter of zeros moves, given a random gradient."""
    parameter = nn.Parameter(torch.zeros(shape))
    slope = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    optimizer = TwoOptimizers([(name, parameter)], MUON, ADAM)
    optimizer.step((parameter * slope).sum(), share)
    return parameter.detach()


def test_a_loss_that_nothing_learns_from_moves_nothing() -> None:
    parameter = nn.Parameter(torch.ones(4))
    optimizer = TwoOptimizers([("heads.weight", parameter)], MUON, ADAM)
    optimizer.step(torch.tensor(2.0), 1.0)
    assert parameter.tolist() == [1.0] * 4
    assert not optimizer.tensors()


def is_adam(moved: torch.Tensor, rate: float) -> bool:
    """AdamW's first step moves every value by the learning rate."""
    return bool(torch.allclose(moved.abs(), torch.full_like(moved, rate), rtol=1e-2))


def is_muon(moved: torch.Tensor) -> bool:
    """Muon's step moves every direction about as far as every other."""
    sizes = torch.linalg.svdvals(moved)
    return bool(sizes[0] < 2 * sizes[-1])


@pytest.mark.parametrize("name", MATRICES)
def test_matrices_inside_the_transformers_take_muons_steps(name: str) -> None:
    moved = first_step(name)
    assert is_muon(moved)
    assert not is_adam(moved, ADAM)


@pytest.mark.parametrize("name", OTHERS)
def test_embeddings_and_heads_take_adamws_steps(name: str) -> None:
    moved = first_step(name)
    assert is_adam(moved, ADAM)
    assert not is_muon(moved)


@pytest.mark.parametrize("shape", [(16,), (16, 3, 2, 2), (1, 1, 16)])
def test_what_is_no_matrix_takes_adamws_steps(shape: tuple[int, ...]) -> None:
    assert is_adam(first_step(MATRICES[0], shape), ADAM)


def test_muon_steps_are_as_long_as_adamws() -> None:
    moved = first_step(MATRICES[0], (64, 64))
    rms = float(moved.square().mean().sqrt())
    assert rms == pytest.approx(0.2 * MUON, rel=0.2)


@pytest.mark.parametrize("name", [MATRICES[0], OTHERS[0]])
def test_a_share_of_the_rate_is_a_share_of_the_step(name: str) -> None:
    torch.testing.assert_close(first_step(name, share=0.5), 0.5 * first_step(name))


def test_frozen_parameters_stay() -> None:
    frozen = nn.Parameter(torch.ones(4, 4), requires_grad=False)
    free = nn.Parameter(torch.ones(4, 4))
    optimizer = TwoOptimizers([(MATRICES[0], frozen), (OTHERS[0], free)], MUON, ADAM)
    optimizer.step((free * frozen).sum(), 1.0)
    assert torch.equal(frozen, torch.ones(4, 4))
    assert not torch.equal(free, torch.ones(4, 4))


def test_gradients_do_not_pile_up_and_unused_parameters_rest() -> None:
    used, unused = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))
    optimizer = TwoOptimizers([("a", used), ("b", unused)], MUON, ADAM)
    optimizer.step(used.sum(), 1.0)
    assert used.grad is None
    assert torch.equal(unused, torch.ones(4))


def test_large_gradients_are_clipped_together() -> None:
    steady, wild = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(4))
    optimizer = TwoOptimizers([("a", steady), ("b", wild)], MUON, ADAM)
    seen: list[float] = []
    wild.register_post_accumulate_grad_hook(lambda p: seen.append(float(p.grad.norm())))  # type: ignore[no-untyped-call]
    for scale in (1.0, 1e6):
        optimizer.step(steady.sum() + scale * wild.sum(), 1.0)
    assert seen == [2.0, 2e6]
    # After a clipped step the second moment holds 1 at most, so the next step is not tiny.
    before = wild.detach().clone()
    for _ in range(20):
        optimizer.step(wild.sum(), 1.0)
    assert (before - wild).abs().min() > 5 * ADAM


def pull(optimizer: TwoOptimizers, parameters: list[nn.Parameter], step: int) -> None:
    """A step whose gradient differs from the one before; the last parameter has none."""
    source = torch.Generator().manual_seed(step)
    slopes = [torch.randn(each.shape, generator=source) for each in parameters[:-1]]
    pulled = [(each * slope).sum() for each, slope in zip(parameters[:-1], slopes, strict=True)]
    optimizer.step(torch.stack(pulled).sum(), 1.0)


def test_what_is_remembered_can_be_kept_and_taken_up_again() -> None:
    names = [MATRICES[0], OTHERS[0], MATRICES[1], "bias", "unused"]
    shapes = [(4, 4), (4, 4), (4, 8), (4,), (4,)]
    steady = [nn.Parameter(torch.ones(shape)) for shape in shapes]
    optimizer = TwoOptimizers(zip(names, steady, strict=True), MUON, ADAM)
    assert optimizer.tensors() == {}
    for step in range(3):
        pull(optimizer, steady, step)
    kept = {name: tensor.clone() for name, tensor in optimizer.tensors().items()}
    assert {name.split(".")[0] for name in kept} == {"0", "1"}
    resumed = [nn.Parameter(each.detach().clone()) for each in steady]
    other = TwoOptimizers(zip(names, resumed, strict=True), MUON, ADAM)
    other.load_tensors(kept)
    for step in range(3, 6):
        pull(optimizer, steady, step)
        pull(other, resumed, step)
    assert all(torch.equal(a, b) for a, b in zip(steady, resumed, strict=True))
    assert optimizer.tensors().keys() == other.tensors().keys() == kept.keys()


def test_all_matrices_or_none_may_be_trained() -> None:
    for name in (MATRICES[0], OTHERS[0]):
        parameter = nn.Parameter(torch.ones(4, 4))
        optimizer = TwoOptimizers([(name, parameter)], MUON, ADAM)
        optimizer.step(parameter.sum(), 1.0)
        TwoOptimizers([(name, parameter)], MUON, ADAM).load_tensors(optimizer.tensors())


def test_a_few_steps_fit_a_line() -> None:
    source = torch.Generator().manual_seed(0)
    inputs = torch.randn(64, 8, generator=source)
    wanted = inputs @ torch.randn(8, 3, generator=source)
    net = nn.ModuleDict({"mlp1": nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 3))})
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1, generator=source)
    optimizer = TwoOptimizers(net.named_parameters(), 0.1, 0.02)
    losses = []
    for step in range(60):
        loss = (net["mlp1"](inputs) - wanted).square().mean()
        losses.append(float(loss.detach()))
        optimizer.step(loss, warm_up_then_decay(step / 60))
    assert losses[-1] < 0.1 * losses[0]


def test_the_rate_goes_up_then_down() -> None:
    shares = [warm_up_then_decay(step / 1000) for step in range(1001)]
    peak = shares.index(max(shares))
    assert peak == 30
    assert shares[peak] == pytest.approx(1.0)
    assert shares[:peak] == sorted(shares[:peak])
    assert shares[peak:] == sorted(shares[peak:], reverse=True)
    assert shares[0] == 0.01
    assert shares[-1] == pytest.approx(0.03)
    assert shares[515] == pytest.approx((1.0 + 0.03) / 2)


def test_there_may_be_no_warm_up() -> None:
    assert warm_up_then_decay(0.0, warm_up=0.0) == 1.0
