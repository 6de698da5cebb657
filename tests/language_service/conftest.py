"""Models and tokenizers of the language service's tests."""

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from language_service.attention import PAGED_ATTENTION
from language_service.tokenizer import ChatTokenizer
from tests.language_service.harness import build_model


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model() -> PreTrainedModel:
    """A small model with the attention that replicas use."""
    return build_model(PAGED_ATTENTION)


@pytest.fixture(scope="session")
def plain_model() -> PreTrainedModel:
    """The same weights with transformers' own attention."""
    return build_model("eager")


@pytest.fixture(scope="session")
def tokenizer(flash_model_dir: Path) -> ChatTokenizer:
    return ChatTokenizer(flash_model_dir)
