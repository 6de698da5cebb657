"""The same tensors under the names that `InternVLForConditionalGeneration` of transformers reads.

Source: the published conversion script `internvl_custom2hf.py`. Values are not changed; only the
fused query-key-value tensors are cut into three.
"""

import re
from collections.abc import Mapping

import torch

_RENAMES = (
    (r"^mlp1\.0\.", "model.multi_modal_projector.layer_norm."),
    (r"^mlp1\.1\.", "model.multi_modal_projector.linear_1."),
    (r"^mlp1\.3\.", "model.multi_modal_projector.linear_2."),
    (r"^language_model\.model\.", "model.language_model."),
    (r"^language_model\.lm_head\.", "lm_head."),
    (r"^vision_model\.encoder\.layers\.", "model.vision_tower.encoder.layer."),
    (r"^vision_model\.", "model.vision_tower."),
    (r"\.class_embedding$", ".cls_token"),
    (r"\.position_embedding$", ".position_embeddings"),
    (r"\.patch_embedding\.", ".patch_embeddings.projection."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.ls1$", ".lambda_1"),
    (r"\.ls2$", ".lambda_2"),
    (r"\.attn\.proj\.", ".attention.projection_layer."),
    (r"\.attn\.", ".attention."),
)
_FUSED = ".attention.qkv."


def to_transformers_layout(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename the tensors of a non-Flash checkpoint.

    Args:
        tensors: By their original names.
    """
    renamed: dict[str, torch.Tensor] = {}
    for original, tensor in tensors.items():
        name = original
        for pattern, replacement in _RENAMES:
            name = re.sub(pattern, replacement, name)
        if _FUSED in name:
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                renamed[name.replace(_FUSED, f".attention.{part}_proj.")] = rows.contiguous()
        else:
            renamed[name] = tensor
    return renamed
