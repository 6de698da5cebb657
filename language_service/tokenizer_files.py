"""The tokenizer of a checkpoint and the template that its conversations follow."""

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedConfig

from common.errors import CheckpointError
from language_service import harmony_template
from language_service.chat_template import ChatTemplate


def load_tokenizer(directory: Path) -> Any:
    """The tokenizer as transformers loads it.

    Raises:
        CheckpointError: Files are missing or of a kind that is not supported.
    """
    # Without either file transformers makes an empty tokenizer and says nothing.
    if not any((directory / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise CheckpointError(f"{directory} holds neither tokenizer.json nor vocab.json.")
    try:
        # With a configuration handed in, transformers does not puzzle over the checkpoint's own.
        tokenizer = AutoTokenizer.from_pretrained(
            directory, config=PreTrainedConfig(), trust_remote_code=False
        )
    except (OSError, ValueError) as cause:
        raise CheckpointError(f"{directory} holds no tokenizer that can be loaded.") from cause
    if not tokenizer.is_fast:
        raise CheckpointError(f"{directory} holds a tokenizer without a fast implementation.")
    return tokenizer


def load_template(directory: Path, tokenizer: Any) -> ChatTemplate:
    """The template of a checkpoint: its own, or the one that its configuration names.

    Args:
        directory: Of the model.
        tokenizer: Of the model, as transformers loads it.

    Raises:
        CheckpointError: There is none, or one that does not go with pictures or the tokenizer.
    """
    if harmony_template.uses_harmony(directory, tokenizer.get_added_vocab()):
        return _harmony(tokenizer)
    return _own_template(directory, tokenizer)


def _own_template(directory: Path, tokenizer: Any) -> ChatTemplate:
    """The checkpoint's own template."""
    if tokenizer.chat_template is None:
        raise CheckpointError(f"{directory} holds no chat template.")
    return ChatTemplate(
        lambda messages: tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
    )


def _harmony(tokenizer: Any) -> ChatTemplate:
    known = tokenizer.get_added_vocab()
    for token in harmony_template.CONTROL_TOKENS:
        if token not in known:
            raise CheckpointError(f"The tokenizer has no token {token}.")
    return ChatTemplate(harmony_template.render)
