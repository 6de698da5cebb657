"""Tests, as a mirror of the packages, and what they share."""

import os

import torch

if not torch.cuda.is_available():
    # Triton reads it when it is first imported, which transformers does: on a CPU kernels run in
    # its interpreter alone.
    os.environ.setdefault("TRITON_INTERPRET", "1")
