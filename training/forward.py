"""One pass of the whole model over a packed batch, at any resolution of its tiles."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from training.batches import Batch
from training.trainable_model import TrainableModel

# Layers of the language model after which a visual token should know what it shows: the layers
# above are left to find the token that a question is about.
READING_LAYER = 1


@dataclass(frozen=True, slots=True)
class ForwardPass:
    """What one pass gives.

    Attributes:
        answer_logits: [n, vocabulary], in the order of the batch's `answers`.
        visual_states: [v, h] after `READING_LAYER` layers, in the order of the visual tokens.
    """

    answer_logits: torch.Tensor
    visual_states: torch.Tensor


def forward_pass(
    model: TrainableModel, batch: Batch, features: torch.Tensor, compressed: Sequence[bool]
) -> ForwardPass:
    """Run the language model on a batch.

    Args:
        model: The model.
        batch: Packed for the same resolutions.
        features: [T, P, d] of `model.vision.encode`.
        compressed: For each tile whether it is.
    """
    embeddings = model.language.get_input_embeddings()(batch.token_ids)
    if len(features):
        visual = model.vision.project(features, compressed)
        flat = embeddings.flatten(0, 1).index_copy(0, batch.visual_places, visual)
        embeddings = flat.view_as(embeddings)
    passed = model.language.model(
        inputs_embeds=embeddings,
        position_ids=batch.positions,
        attention_mask={"full_attention": batch.attention_mask()},
        use_cache=False,
        output_hidden_states=True,
    )
    return ForwardPass(
        model.language.lm_head(passed.last_hidden_state.flatten(0, 1)[batch.answer_places]),
        passed.hidden_states[READING_LAYER].flatten(0, 1)[batch.visual_places],
    )


def answer_logits(
    model: TrainableModel, batch: Batch, features: torch.Tensor, compressed: Sequence[bool]
) -> torch.Tensor:
    """The logits of every answer token: [n, vocabulary], as `forward_pass`."""
    return forward_pass(model, batch, features, compressed).answer_logits
