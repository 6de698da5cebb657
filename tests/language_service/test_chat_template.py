"""What the template wrote, what users wrote, and where the pictures are."""

import jinja2
import pytest

from common.conversation import ImageGroupPart, PromptMessage, TextPart
from common.errors import CheckpointError, InvalidRequestError
from common.types import Role
from language_service.chat_template import ChatTemplate, TemplateText

PICTURE = ImageGroupPart((0,))

LISTS = """
{%- for m in messages %}[{{ m.role }}]{% for c in m.content %}
{%- if c.type == 'text' %}{{ c.text }}{% else %}IMAGE|{% endif %}
{%- endfor %}{% endfor %}>"""
STRINGS = "{% for m in messages %}{{ '[' + m.role + ']' + m.content }}{% endfor %}>"


def template(source: str) -> ChatTemplate:
    environment = jinja2.Environment(autoescape=False)  # noqa: S701 - as chat templates are run
    compiled = environment.from_string(source)
    return ChatTemplate(lambda messages: compiled.render(messages=messages))


def user(*parts: str | ImageGroupPart) -> PromptMessage:
    return PromptMessage(
        Role.USER, tuple(TextPart(part) if isinstance(part, str) else part for part in parts)
    )


@pytest.mark.parametrize("marker", ["<IMG_CONTEXT>", "<img><IMG_CONTEXT></img>"])
def test_pictures_are_cut_out_with_or_without_borders(marker: str) -> None:
    pieces = template(LISTS.replace("IMAGE", marker)).pieces((user("a", PICTURE, "b"),))
    assert [piece for piece in pieces if piece != TemplateText("")] == [
        TemplateText("[user]"),
        TextPart("a"),
        PICTURE,
        TemplateText("|"),
        TextPart("b"),
        TemplateText(">"),
    ]


def test_a_template_of_strings_gets_strings() -> None:
    pieces = template(STRINGS).pieces((user("a", PICTURE, "b"),))
    assert [piece for piece in pieces if piece != TemplateText("")] == [
        TemplateText("[user]"),
        TextPart("a"),
        PICTURE,
        TemplateText("\n"),
        TextPart("b"),
        TemplateText(">"),
    ]


def test_pictures_keep_their_order_over_turns() -> None:
    first, second = ImageGroupPart((1, 2)), ImageGroupPart((0,))
    chat = template(LISTS.replace("IMAGE", "<IMG_CONTEXT>"))
    pieces = chat.pieces((user(first, "a"), PromptMessage(Role.ASSISTANT, ()), user(second)))
    assert [piece for piece in pieces if isinstance(piece, ImageGroupPart)] == [first, second]


def test_the_template_does_not_see_text() -> None:
    source = LISTS.replace("IMAGE", "<IMG_CONTEXT>").replace("c.text", "c.text | upper | trim")
    text = " {{ messages }} <IMG_CONTEXT> \ue0000\ue001 "
    pieces = template(source).pieces((user(text),))
    assert [piece for piece in pieces if isinstance(piece, TextPart)] == [TextPart(text)]


@pytest.mark.parametrize(
    ("source", "word"),
    [
        (LISTS + "{% if messages[2] %}{{ raise_exception('no') }}{% endif %}", "refuses"),
        (LISTS + "{% if messages[2] %}{{ messages[0].content[0].text }}{% endif %}", "doubles"),
        (LISTS.replace("in messages", "in messages[:2]"), "no place"),
    ],
)
def test_what_a_template_cannot_express_is_refused(source: str, word: str) -> None:
    chat = template(source.replace("IMAGE", "<IMG_CONTEXT>"))
    chat.pieces((user("a"), user("b")))
    with pytest.raises(InvalidRequestError, match=word) as refused:
        chat.pieces((user("a"), user("b"), user("c")))
    assert refused.value.field == "messages"


def test_a_template_without_a_place_for_content_is_no_template() -> None:
    with pytest.raises(CheckpointError, match="chat template"):
        template("always the same")
