"""Ask without a picture, over HTTP: `python examples/text_only.py`."""

from address import HTTP, read_address
from openai import OpenAI

client = OpenAI(base_url=f"http://{read_address(__doc__, HTTP)}/v1", api_key="unused")
model = client.models.list().data[0].id
answer = client.chat.completions.create(
    model=model,
    messages=[{"role": "user", "content": "Which number comes after seven?"}],
    temperature=0,
)
print(answer.choices[0].message.content)
