"""One pass of the whole model over a packed batch, at any resolution of its tiles."""

from collections.abc import Sequence

import torch

from training.batches import Batch
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
        [n, vocabulary], in the order of the batch's `answers`.
    """
    embeddings = model.language.get_input_embeddings()(batch.token_ids)
    if len(features):
        visual = model.vision.project(features, compressed)
        flat = embeddings.flatten(0, 1).index_copy(0, batch.visual_places, visual)
        embeddings = flat.view_as(embeddings)
    hidden = model.language.model(
        inputs_embeds=embeddings,
        position_ids=batch.positions,
        attention_mask={"full_attention": batch.attention_mask()},
        use_cache=False,
    ).last_hidden_state
    logits: torch.Tensor = model.language.lm_head(hidden.flatten(0, 1)[batch.answer_places])
    return logits
