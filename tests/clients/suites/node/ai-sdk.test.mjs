// The Vercel AI SDK, by each of the three providers that speak one of the API's dialects.
import assert from "node:assert/strict";
import test from "node:test";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import * as ai from "ai";
import { z } from "zod";

const baseURL = process.env.OPENAI_BASE_URL;
const apiKey = process.env.OPENAI_API_KEY;
const providers = {
  compatible: createOpenAICompatible({
    name: "appliance", baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true,
  }),
  openai: createOpenAI({ baseURL, apiKey }),
  anthropic: createAnthropic({ baseURL, apiKey }),
};
// A small model left to chance may fill an object with spaces until its tokens are used up.
const options = { maxRetries: 0, temperature: 0, maxOutputTokens: 10, prompt: "What is the capital of France?" };
const person = z.object({ name: z.string().max(20), age: z.number().int().max(99) });

for (const [name, provider] of Object.entries(providers)) {
  const model = provider("smollm2");

  test(`${name}: generateText`, async () => {
    const answer = await ai.generateText({ model, ...options });
    assert.ok(answer.text);
    assert.ok(answer.usage.outputTokens > 0);
  });

  test(`${name}: streamText`, async () => {
    const answer = ai.streamText({ model, ...options, prompt: "Write a long story about the sea." });
    let text = "";
    for await (const part of answer.textStream) text += part;
    assert.ok(text);
    assert.equal((await answer.usage).outputTokens, 10);
  });

  test(`${name}: a tool is called`, async () => {
    const weather = ai.tool({ inputSchema: z.object({ city: z.string().max(20) }) });
    const answer = await ai.generateText({
      model, ...options, maxOutputTokens: 200, toolChoice: "required", tools: { weather },
    });
    assert.deepEqual(Object.keys(answer.toolCalls[0].input), ["city"]);
  });

  test(`${name}: an object`, async () => {
    const answer = await ai.generateText({
      model, ...options, maxOutputTokens: 200, prompt: "A person.", output: ai.Output.object({ schema: person }),
    });
    assert.equal(typeof answer.output.age, "number");
  });

  if (name !== "anthropic") {
    test(`${name}: embedMany`, async () => {
      const embedding = (provider.textEmbeddingModel ?? provider.embeddingModel)("minilm");
      const answer = await ai.embedMany({ model: embedding, values: ["a", "b"], maxRetries: 0 });
      assert.equal(answer.embeddings.length, 2);
    });
  }
}
