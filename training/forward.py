"""One pass of the whole model over a packed batch, at any resolution of its tiles."""

from collections.abc import Sequence

import torch

from training.batches import NO_LABEL, Batch
from training.trainable_model import TrainableModel


def answer_logits(
    model: TrainableModel, batch: Batch, features: torch.Tensor, compressed: Sequence[bool]
) -> torch.Tensor:
    """Compute the logits of every answer token.

    Args:
        model: The model.
        batch: Packed for the same resolutions.
        features: [T, P, d] of `model.vision.encode`.
        compressed: For each tile whether it is.

    Returns:
        [n, vocabulary], in the order of `answer_tokens`.
    """
    embeddings = model.language.get_input_embeddings()(batch.token_ids)
    if len(features):
        visual = model.vision.project(features, compressed)
        embeddings = embeddings.masked_scatter(batch.is_visual[..., None], visual)
    hidden = model.language.model(
        inputs_embeds=embeddings,
        position_ids=batch.positions,
        attention_mask={"full_attention": batch.attention_mask()},
        use_cache=False,
    ).last_hidden_state
    logits: torch.Tensor = model.language.lm_head(hidden[batch.labels != NO_LABEL])
    return logits


def answer_tokens(batch: Batch) -> torch.Tensor:
    """The tokens that the logits should predict: [n]."""
    return batch.labels[batch.labels != NO_LABEL]
