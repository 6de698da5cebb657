"""What is done to a loaded model so that it runs fast where it is."""

from transformers import PreTrainedModel

from language_service.compiled_model import compile_layers
from language_service.fused_norms import fuse_norms
from language_service.packed_linear import pack_linears


def tune(model: PreTrainedModel, compiles: bool) -> None:
    """Make a model fast: packed weights on a CPU, fewer launches on a GPU, or compiled layers.

    Args:
        model: On its device, with its weights.
        compiles: Whether PyTorch's compiler takes the layers; the rest is then left to it.
    """
    if compiles:
        compile_layers(model)
    elif model.device.type == "cuda":
        fuse_norms(model)
    else:
        pack_linears(model)
