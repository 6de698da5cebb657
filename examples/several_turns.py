"""Ask twice about one picture, the second question leaning on the first, over HTTP.

    python examples/several_turns.py

With `resolution_scope` image, what is compressed in a picture never depends on later turns, so that
what the first turn has computed is found in the cache.
"""

import base64

from address import HTTP, PICTURES, read_address
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

client = OpenAI(base_url=f"http://{read_address(__doc__, HTTP)}/v1", api_key="unused")
model = client.models.list().data[0].id
picture = base64.b64encode((PICTURES / "neighbours.png").read_bytes()).decode()
messages: list[ChatCompletionMessageParam] = [
    {
        "role": "user",
        "content": [
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
            {"type": "text", "text": "Which colour does the big star have?"},
        ],
    }
]
for next_question in ("And the big triangle?", None):
    answer = client.chat.completions.create(
        model=model, messages=messages, temperature=0, extra_body={"resolution_scope": "image"}
    )
    text = answer.choices[0].message.content or ""
    print(text)
    if next_question is not None:
        messages.append({"role": "assistant", "content": text})
        messages.append({"role": "user", "content": next_question})
