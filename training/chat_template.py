"""The chat template of InternVL3.5: ChatML turns, no system message unless one is given.

A picture is one item of a message's content. The original repositories print it with its borders,
those of transformers print the placeholder alone, and the processor adds the borders.
"""

from common.model_config import CheckpointLayout
from training.tokenizer import IMAGE_CONTEXT, IMAGE_END, IMAGE_START

_TEMPLATE = r"""
{%- for message in messages -%}
    {{- '<|im_start|>' ~ message.role ~ '\n' -}}
    {%- if message.content is string -%}
        {{- message.content -}}
    {%- else -%}
        {%- for item in message.content -%}
            {%- if item.type == 'text' -%}
                {{- item.text -}}
            {%- elif item.type in ('image', 'image_url') -%}
                {{- 'IMAGE\n' -}}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {{- '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\n' -}}
{%- endif -%}
"""


def chat_template(layout: CheckpointLayout) -> str:
    """Return the Jinja source for one layout."""
    image = IMAGE_CONTEXT
    if layout is CheckpointLayout.ORIGINAL:
        image = f"{IMAGE_START}{IMAGE_CONTEXT}{IMAGE_END}"
    return _TEMPLATE.strip().replace("IMAGE\\n", f"{image}\\n") + "\n"
