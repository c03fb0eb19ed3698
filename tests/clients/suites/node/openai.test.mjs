// OpenAI's and Anthropic's client libraries for Node.
import assert from "node:assert/strict";
import test from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const messages = [{ role: "user", content: "What is the capital of France?" }];
const model = "smollm2";
// Left to chance, the model ends its answer where it likes: asked for five tokens of the likeliest, it gives five.

async function all(stream) {
  const found = [];
  for await (const one of stream) found.push(one);
  return found;
}

test("openai: chat", async () => {
  const answer = await client.chat.completions.create({ model, messages, temperature: 0 });
  assert.match(answer.choices[0].message.content, /Paris/);
});

test("openai: chat, streamed", async () => {
  const chunks = await all(
    await client.chat.completions.create({
      model, messages, temperature: 0, stream: true, max_tokens: 5, stream_options: { include_usage: true },
    }),
  );
  assert.equal(chunks.at(-1).usage.completion_tokens, 5);
});

test("openai: completions", async () => {
  const answer = await client.completions.create({ model, prompt: "Once", temperature: 0, max_tokens: 3 });
  assert.equal(answer.usage.completion_tokens, 3);
});

test("openai: responses", async () => {
  const asked = { model, input: messages[0].content, temperature: 0, max_output_tokens: 5 };
  const answer = await client.responses.create(asked);
  assert.ok(answer.output_text);
  const events = await all(await client.responses.create({ ...asked, stream: true }));
  assert.equal(events.at(-1).type, "response.incomplete");
});

test("openai: embeddings", async () => {
  const answer = await client.embeddings.create({ model: "minilm", input: ["a", "b"] });
  assert.deepEqual(answer.data.map((one) => one.embedding.length), [384, 384]);
});

test("openai: models", async () => {
  assert.deepEqual((await all(await client.models.list())).map((one) => one.id), [model, "minilm"]);
});

test("openai: errors", async () => {
  await assert.rejects(client.chat.completions.create({ model: "other", messages }), OpenAI.NotFoundError);
  await assert.rejects(new OpenAI({ apiKey: "sk-no", maxRetries: 0 }).models.list(), OpenAI.AuthenticationError);
});

const anthropic = new Anthropic({ maxRetries: 0 });

test("anthropic: messages", async () => {
  const asked = { model, max_tokens: 5, temperature: 0, messages };
  const answer = await anthropic.messages.create(asked);
  assert.equal(answer.usage.output_tokens, 5);
  const streamed = await anthropic.messages.stream(asked).finalMessage();
  assert.equal(streamed.usage.output_tokens, 5);
});

test("anthropic: errors", async () => {
  await assert.rejects(anthropic.messages.create({ model: "other", max_tokens: 9, messages }), Anthropic.NotFoundError);
});
