"""The conversation format of InternVL3.5's GPT-OSS preview, which no Jinja template expresses.

The original code writes it itself (`internvl3_5_gpt_oss`), and what the tokenizer brings is the
language model's own, which knows no pictures. Turns are messages in channels, of which the model
was trained on one, `final`; it begins every answer by naming it. Here the prompt does, so that the
name, which is ordinary text, never is a part of the answer.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from common.json_file import read_json

TEMPLATE_NAME = "internvl3_5_gpt_oss"
START, MESSAGE, CHANNEL = "<|start|>", "<|message|>", "<|channel|>"
END, RETURN = "<|end|>", "<|return|>"
CONTROL_TOKENS = (START, MESSAGE, CHANNEL, END, RETURN)
# What follows the end of a message is no part of the answer either.
ANSWER_ENDS = (RETURN, END)
PICTURE = "<img><IMG_CONTEXT></img>\n"
# The date is the published one: it is a part of what the model was trained with.
SYSTEM_MESSAGE = (
    "You are InternVL, a large language model trained by Shanghai AI Laboratory.\n"
    "Knowledge cutoff: 2024-06\n"
    "Current date: 2025-08-06\n"
    "\n"
    "Reasoning: low\n"
    "\n"
    "# Valid channels: final. Channel must be included for every message."
)

Message = Mapping[str, Any]


def uses_harmony(directory: Path, tokens: Collection[str]) -> bool:
    """Whether a checkpoint speaks this format.

    The original layout names it. That of transformers does not, but there it is told by the kind
    of the language model and the tokens of the format.

    Args:
        directory: Of the model.
        tokens: That were added to its vocabulary.

    Raises:
        CheckpointError: The configuration is no JSON object.
    """
    config = read_json(directory / "config.json") or {}
    if "template" in config:
        return bool(config["template"] == TEMPLATE_NAME)
    text = config.get("text_config")
    is_gpt_oss = isinstance(text, dict) and text.get("model_type") == "gpt_oss"
    return is_gpt_oss and CHANNEL in tokens


def render(messages: list[dict[str, object]]) -> str:
    """Write a conversation and open the answer.

    Args:
        messages: As transformers passes them to templates, `content` a list.
    """
    system, turns = _system(messages)
    written = [f"{START}system{MESSAGE}{system}{END}"]
    for turn in turns:
        # Earlier answers stand in their channel, as the model itself has written them.
        channel = f"{CHANNEL}final" if turn["role"] == "assistant" else ""
        written.append(f"{START}{turn['role']}{channel}{MESSAGE}{_content(turn)}{END}")
    return f"{''.join(written)}{START}assistant{CHANNEL}final{MESSAGE}"


def _system(messages: list[dict[str, object]]) -> tuple[str, list[dict[str, object]]]:
    """What the system says, and all other turns."""
    if messages and messages[0]["role"] == "system":
        return _content(messages[0]), messages[1:]
    return SYSTEM_MESSAGE, messages


def _content(message: Message) -> str:
    parts = message["content"]
    return "".join(part["text"] if part["type"] == "text" else PICTURE for part in parts)
