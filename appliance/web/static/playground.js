/**
 * The playground: asks the API as any client does, and forgets everything with the page.
 *
 * @typedef {{role: "user" | "assistant", content: string}} Message
 * @typedef {{prompt_tokens: number, completion_tokens: number}} Usage
 * @typedef {{text: string, usage: Usage | null}} Piece
 */

/**
 * One element of the page.
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T}
 */
function find(id, kind) {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`#${id} is not on the page`);
  return element;
}

const place = find("playground", HTMLDivElement);
const form = find("ask", HTMLFormElement);
const model = find("model", HTMLSelectElement);
const most = find("most", HTMLInputElement);
const text = find("text", HTMLTextAreaElement);
const talk = find("talk", HTMLDivElement);
const send = find("send", HTMLButtonElement);
const stop = find("stop", HTMLButtonElement);
const clear = find("clear", HTMLButtonElement);
const code = find("code", HTMLElement);
const api = place.dataset.api ?? "";

/** @type {Message[]} */
let messages = [];
let key = "";
/** @type {AbortController | null} */
let running = null;

/**
 * A sentence of the page, with its values.
 * @param {string} name
 * @param {Record<string, string | number>} values
 */
function say(name, values = {}) {
  return (place.dataset[name] ?? "").replace(/\{(\w+)\}/g, (whole, value) => String(values[value] ?? whole));
}

/** A key for this page alone. Throws if nobody is signed in any more. */
async function newKey() {
  const answer = await fetch("/playground/key", { method: "POST", redirect: "manual" });
  if (!answer.ok) throw new Error(say("ended"));
  return String((await answer.json()).key);
}

/**
 * @param {AbortSignal} signal
 * @returns {Promise<Response>}
 */
async function ask(signal) {
  if (!key) key = await newKey();
  const body = JSON.stringify({
    model: model.value,
    messages,
    max_tokens: Number(most.value),
    stream: true,
    stream_options: { include_usage: true },
  });
  const request = () =>
    fetch(`${api}/chat/completions`, {
      method: "POST",
      headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json" },
      body,
      signal,
    });
  const answer = await request();
  if (answer.status !== 401) return answer;
  key = await newKey();
  return request();
}

/**
 * The pieces of a streamed answer (server-sent events).
 * @param {ReadableStream<Uint8Array>} stream
 * @returns {AsyncGenerator<Piece>}
 */
async function* pieces(stream) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (!line.startsWith("data: {")) continue;
      const chunk = JSON.parse(line.slice("data: ".length));
      if (chunk.error) throw new Error(chunk.error.message);
      yield { text: chunk.choices?.[0]?.delta?.content ?? "", usage: chunk.usage ?? null };
    }
  }
}

/**
 * @param {string} who
 * @param {string} kind
 * @returns {{words: HTMLElement, facts: HTMLElement}}
 */
function turn(who, kind) {
  const block = document.createElement("div");
  block.className = `turn ${kind}`;
  const name = document.createElement("strong");
  name.textContent = who;
  const words = document.createElement("p");
  const facts = document.createElement("small");
  block.append(name, words, facts);
  talk.append(block);
  block.scrollIntoView({ block: "nearest" });
  return { words, facts };
}

/**
 * What it cost, as it was charged: known a moment after the answer's end.
 * @param {string} request
 */
async function costOf(request) {
  const asked = new URLSearchParams({ request });
  try {
    for (let tries = 0; tries < 25; tries++) {
      const answer = await fetch(`/playground/cost?${asked}`, { redirect: "manual" });
      const cost = answer.ok ? (await answer.json()).cost : null;
      if (cost !== null) return String(cost);
      await new Promise((done) => setTimeout(done, 200));
    }
  } catch {
    // The answer is there; what it cost stands in the overview.
  }
  return "";
}

/** One question and its answer, until it ends or is stopped. */
async function converse() {
  messages.push({ role: "user", content: text.value });
  turn(say("you"), "you").words.textContent = text.value;
  text.value = "";
  showCode();
  const { words, facts } = turn(model.value, "model");
  const began = performance.now();
  const seconds = () => ((performance.now() - began) / 1000).toFixed(2);
  running = new AbortController();
  let request = "";
  let first = "";
  /** @type {Usage | null} */
  let usage = null;
  try {
    const answer = await ask(running.signal);
    request = answer.headers.get("x-request-id") ?? "";
    if (!answer.ok || !answer.body) throw new Error((await answer.json()).error.message);
    for await (const piece of pieces(answer.body)) {
      if (piece.text && !first) first = seconds();
      words.textContent += piece.text;
      usage = piece.usage ?? usage;
    }
  } catch (error) {
    if (!(error instanceof DOMException && error.name === "AbortError")) tell(words, error);
  }
  const whole = seconds();
  running = null;
  if (words.textContent) messages.push({ role: "assistant", content: words.textContent });
  else messages.pop();
  const cost = request ? await costOf(request) : "";
  const told = [
    usage && say("tokens", { prompt: usage.prompt_tokens, completion: usage.completion_tokens }),
    cost,
    first && say("first", { seconds: first }),
    first && say("whole", { seconds: whole }),
  ];
  facts.textContent = told.filter(Boolean).join(" · ");
}

/**
 * @param {HTMLElement} words
 * @param {unknown} error
 */
function tell(words, error) {
  const problem = document.createElement("p");
  problem.className = "problem";
  problem.setAttribute("role", "alert");
  problem.textContent = error instanceof TypeError ? say("failed") : error instanceof Error ? error.message : "";
  words.after(problem);
}

/** The same request in Python, with the conversation until now. */
function showCode() {
  const asked = JSON.stringify(messages.length ? messages : [{ role: "user", content: "Hello!" }], null, 4);
  code.textContent = [
    "from openai import OpenAI",
    "",
    `client = OpenAI(base_url=${JSON.stringify(api)}, api_key="…")`,
    "answer = client.chat.completions.create(",
    `    model=${JSON.stringify(model.value)},`,
    `    max_tokens=${Number(most.value)},`,
    `    messages=${asked.replaceAll("\n", "\n    ")},`,
    ")",
    "print(answer.choices[0].message.content)",
  ].join("\n");
}

/** @param {boolean} busy */
function show(busy) {
  send.disabled = busy;
  clear.disabled = busy;
  stop.hidden = !busy;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (running || !text.value.trim()) return;
  show(true);
  try {
    await converse();
  } finally {
    show(false);
  }
  text.focus();
});
text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    form.requestSubmit();
  }
});
stop.addEventListener("click", () => running?.abort());
clear.addEventListener("click", () => {
  messages = [];
  talk.replaceChildren();
  showCode();
  text.focus();
});
model.addEventListener("change", showCode);
most.addEventListener("change", showCode);
showCode();
