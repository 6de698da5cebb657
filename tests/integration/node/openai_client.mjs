// The openai npm package as it comes: models, a picture, a stream, a refusal. Prints what it saw.

import OpenAI from "openai";

const [baseURL, url] = process.argv.slice(2);
const client = new OpenAI({ apiKey: "unused", baseURL, maxRetries: 0 });
const content = [
  { type: "image_url", image_url: { url } },
  { type: "text", text: "What is this?" },
];
const asked = { messages: [{ role: "user", content }], temperature: 0, max_tokens: 10 };

const model = (await client.models.list()).data[0].id;
const whole = await client.chat.completions.create({ ...asked, model });
let streamed = "";
let usage = null;
const stream = await client.chat.completions.create({
  ...asked, model, stream: true, stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
let refused = null;
try {
  await client.chat.completions.create({ ...asked, model, response_format: { type: "json_object" } });
} catch (error) {
  refused = { status: error.status, param: error.param };
}
const text = whole.choices[0].message.content;
console.log(JSON.stringify({ model, text, streamed, usage, refused }));
