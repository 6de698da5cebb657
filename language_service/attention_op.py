"""Attention as one opaque operator, for a model that is compiled.

A compiler that follows the model into attention would meet Python that asks the step, and stop
there in every layer. As an operator of its own attention is called and not looked into; everything
around it is fused.
"""

from collections.abc import Callable

import torch

# Back end, query [1, heads, T, d], key and value [1, kv heads, T, d], layer, scale, window, sinks.
AttentionCall = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, int, float, int | None, torch.Tensor | None],
    torch.Tensor,
]
CALLS: dict[str, AttentionCall] = {}


@torch.library.custom_op("dvd::attend", mutates_args=())
def attend_opaquely(  # noqa: PLR0913, PLR0917
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    backend: str,
    layer: int,
    scaling: float,
    window: int | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """Attention [1, T, heads, d] of the current step by a back end of that name.

    It writes to the cache as well, of which the compiler knows nothing; every layer's outcome
    needs that of the one before, so nothing can change places.
    """
    return CALLS[backend](query, key, value, layer, scaling, window, sinks)


@attend_opaquely.register_fake
def _shape(query: torch.Tensor, *_others: object) -> torch.Tensor:
    num_heads, num_rows, head_dim = query.shape[1:]
    return query.new_empty((1, num_rows, num_heads, head_dim))
