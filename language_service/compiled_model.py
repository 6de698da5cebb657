"""Lets PyTorch's compiler fuse what stands between the matrix products and attention.

Worth its start-up time on a GPU, where the small operations between them are launches of their own;
on a CPU it gains little. The layers are compiled once for steps of one row and once for steps of
more; the head, whose number of rows is another, stays as it is. On a card it **has never run**.
"""

from transformers import PreTrainedModel


def compile_layers(model: PreTrainedModel) -> None:
    """Compile a causal language model's layers; that happens in the first steps."""
    model.base_model.compile(dynamic=True)
