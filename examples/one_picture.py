"""Ask about one picture, over HTTP: `python examples/one_picture.py`."""

import base64

from address import HTTP, PICTURES, read_address
from openai import OpenAI

client = OpenAI(base_url=f"http://{read_address(__doc__, HTTP)}/v1", api_key="unused")
model = client.models.list().data[0].id
picture = base64.b64encode((PICTURES / "signpost.png").read_bytes()).decode()
answer = client.chat.completions.create(
    model=model,
    messages=[
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
                {"type": "text", "text": "What does the yellow sign say?"},
            ],
        }
    ],
    temperature=0,
)
print(answer.choices[0].message.content)
