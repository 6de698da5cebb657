// grpc-js and the proto files alone: the model, a picture, a refusal. Prints what it saw.

import { readFileSync } from "node:fs";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const [address, root, picture] = process.argv.slice(2);
const definition = loader.loadSync("protos/dvd/v1/inference.proto", {
  includeDirs: [root], keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true,
});
const { InferenceService } = grpc.loadPackageDefinition(definition).dvd.v1;
const client = new InferenceService(address, grpc.credentials.createInsecure());

function generate(request) {
  return new Promise((resolve, reject) => {
    let text = "";
    let finished = null;
    const stream = client.Generate(request);
    stream.on("data", (response) => {
      text += response.delta?.text ?? "";
      finished = response.finished ?? finished;
    });
    stream.on("error", reject);
    stream.on("end", () => resolve({ text, finished }));
  });
}

const model = await new Promise((resolve, reject) => {
  client.GetModel({}, (error, told) => (error ? reject(error) : resolve(told.model)));
});
const parts = [{ image: { data: readFileSync(picture) } }, { text: "What is this?" }];
const messages = [{ role: "ROLE_USER", parts }];
const sampling = { temperature: 0, max_tokens: 10 };
const { text, finished } = await generate({ messages, sampling });
const refused = await generate({ messages: [], sampling }).catch((error) => error.code);
console.log(JSON.stringify({ model, text, usage: finished.usage, refused }));
client.close();
