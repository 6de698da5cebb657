"""The template prints ChatML turns and one placeholder for each picture."""

from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from common.model_config import CheckpointLayout
from training.chat_template import chat_template

PICTURE = {"type": "image"}


def render(layout: CheckpointLayout, *messages: dict[str, Any], generate: bool = True) -> str:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(chat_template(layout))
    return template.render(messages=messages, add_generation_prompt=generate)


def user(*content: dict[str, str]) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


@pytest.mark.parametrize(
    ("layout", "image"),
    [
        (CheckpointLayout.ORIGINAL, "<img><IMG_CONTEXT></img>"),
        (CheckpointLayout.TRANSFORMERS, "<IMG_CONTEXT>"),
    ],
)
def test_picture_is_a_placeholder_and_a_line_end(layout: CheckpointLayout, image: str) -> None:
    printed = render(layout, user(PICTURE, {"type": "text", "text": "What?"}))
    assert printed == (f"<|im_start|>user\n{image}\nWhat?<|im_end|>\n<|im_start|>assistant\n")


def test_nothing_is_put_between_text_and_picture() -> None:
    message = user({"type": "text", "text": "a"}, PICTURE, PICTURE, {"type": "text", "text": "b"})
    printed = render(CheckpointLayout.TRANSFORMERS, message, generate=False)
    assert printed == ("<|im_start|>user\na<IMG_CONTEXT>\n<IMG_CONTEXT>\nb<|im_end|>\n")


def test_turns_follow_each_other_without_a_default_system_message() -> None:
    turns = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")]
    messages = [{"role": role, "content": text} for role, text in turns]
    printed = render(CheckpointLayout.ORIGINAL, *messages)
    assert printed.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi")
    assert printed.count("<|im_start|>") == 5
    assert render(CheckpointLayout.ORIGINAL, messages[1]).startswith("<|im_start|>user\n")


@pytest.mark.parametrize("text", ["  spaces \n", "{{ 7 * 7 }}", "a\n\n\nb", ""])
def test_text_stays_as_it_is(text: str) -> None:
    message = user({"type": "text", "text": text})
    printed = render(CheckpointLayout.ORIGINAL, message, generate=False)
    assert printed == f"<|im_start|>user\n{text}<|im_end|>\n"
