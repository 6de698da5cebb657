"""Scaled dot-product attention with sinks: the one place where a kernel is chosen.

A sink is a logit that takes part in the softmax and has no value: it only makes all weights
smaller. With the logarithm of the softmax's denominator at hand that is one factor,
sigmoid(lse - sink). PyTorch's fused CPU kernel computes it and returns it, through an operator
that is not public: it is tried once, and where it is missing or means something else the formula
is written out.
"""

import math
from dataclasses import dataclass

import torch
from torch.nn.functional import scaled_dot_product_attention


@dataclass(frozen=True, slots=True)
class Visibility:
    """Which keys a query sees.

    Attributes:
        mask: Added to the scores, broadcast to [n, heads, rows, length]; None for all keys.
        is_causal: Row i sees keys up to i; there is no mask then.
    """

    mask: torch.Tensor | None = None
    is_causal: bool = False


EVERY_KEY = Visibility()


def attend(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    visible: Visibility,
    scaling: float,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attention of [n, heads, rows, d] over keys and values [n, kv heads, length, d].

    Args:
        query: As above; its heads are a multiple of the key heads.
        keys: As above.
        values: As above.
        visible: Which keys each row sees, at least one.
        scaling: Factor of the scores.
        sinks: Broadcast to [heads, rows]; None for none.
    """
    if sinks is None:
        return scaled_dot_product_attention(
            query,
            keys,
            values,
            attn_mask=visible.mask,
            is_causal=visible.is_causal,
            scale=scaling,
            enable_gqa=query.shape[1] != keys.shape[1],
        )
    is_fused = query.device.type == "cpu" and FUSED_KERNEL_RETURNS_LSE
    with_lse = attend_with_lse_fused if is_fused else attend_with_lse
    output, lse = with_lse(query, keys, values, visible, scaling)
    return (output * torch.sigmoid(lse - sinks.float())[..., None]).to(query.dtype)


def attend_with_lse_fused(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    visible: Visibility,
    scaling: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `attend_with_lse`, by PyTorch's CPU kernel."""
    output, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query,
        keys,
        values,
        0.0,
        visible.is_causal,
        attn_mask=visible.mask,
        scale=scaling,
    )
    return output, lse


def attend_with_lse(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    visible: Visibility,
    scaling: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention and the logarithm of its softmax's denominator, on any device, in float32.

    Returns:
        [n, heads, rows, d] and [n, heads, rows].
    """
    group = query.shape[1] // keys.shape[1]
    keys, values = (each.float().repeat_interleave(group, dim=1) for each in (keys, values))
    scores = (query.float() @ keys.transpose(-1, -2)) * scaling
    if visible.mask is not None:
        scores = scores + visible.mask
    if visible.is_causal:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu_(1)
        scores = scores.masked_fill(future, -math.inf)
    lse = scores.logsumexp(dim=-1)
    return (scores - lse[..., None]).exp() @ values, lse


def _fused_kernel_returns_lse() -> bool:
    """Whether the private operator exists and gives what `attend_with_lse` gives."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(1, 4, 3, 8, generator=generator)
    keys, values = torch.randn(2, 1, 2, 3, 8, generator=generator)
    causal = Visibility(is_causal=True)
    try:
        fused = attend_with_lse_fused(query, keys, values, causal, 0.5)
    except (AttributeError, RuntimeError, TypeError, ValueError):
        return False
    formula = attend_with_lse(query, keys, values, causal, 0.5)
    return all(
        one.shape == other.shape and torch.allclose(one, other, atol=1e-5)
        for one, other in zip(fused, formula, strict=True)
    )


FUSED_KERNEL_RETURNS_LSE = _fused_kernel_returns_lse()
