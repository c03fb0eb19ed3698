"""Tools of every kind, there and back, through an engine that answers what vLLM was seen to answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from serving.agents.app import TRANSLATIONS, Agents
from serving.agents.bodies import UNREADABLE, Body
from serving.agents.one_text import OneText, arguments_of, text_of
from serving.agents.tools import Refused, enforced
from serving.replica.asgi import Message, Receive, Scope, Send, read_body, send_whole
from tests.clients.shapes import NAMES, shape

RESPONSES, CHAT, MESSAGES = "/v1/responses", "/v1/chat/completions", "/v1/messages"
SERVED_BLOCKS = {"text", "image", "tool_use", "tool_result", "thinking", "redacted_thinking"}
PATCH = '*** Begin Patch\n*** Add File: a.py\n+print("hé")\n*** End Patch\n'


class Engine:
    """In the place of vLLM's app. ``asked`` is what came; ``answer`` is a document, or the events of a stream."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.asked: dict[str, Any] = {}
        self.grammars: dict[str, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive)
        assert int(dict(scope["headers"])[b"content-length"]) == len(body)
        self.asked = json.loads(body)
        self.grammars = dict(enforced.get() or {})
        if not isinstance(self.answer, list):
            await send_whole(send, 200, json.dumps(self.answer or {}).encode(), b"application/json")
            return
        start = {"status": 200, "headers": [(b"content-type", b"text/event-stream; charset=utf-8")]}
        await send({"type": "http.response.start", **start})
        for event in self.answer:
            name = f"event: {event['type']}\n" if "type" in event else ""
            data = f"{name}data: {json.dumps(event)}\n\n".encode()
            for part in (data[:20], data[20:]):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})


class Reply:
    def __init__(self, messages: list[Message]) -> None:
        self.status = messages[0]["status"]
        self.text = b"".join(message.get("body", b"") for message in messages).decode()

    @property
    def document(self) -> Any:
        return json.loads(self.text)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line[6:]) for line in self.text.splitlines() if line.startswith("data: {")]


def ask(engine: Engine, path: str, body: dict[str, Any]) -> Reply:
    messages: list[Message] = []
    raw = json.dumps({"model": "m"} | body).encode()
    unread = [{"body": raw[:9], "more_body": True}, {"body": raw[9:], "more_body": False}]

    async def receive() -> Message:
        return {"type": "http.request", **unread.pop(0)}

    async def send(message: Message) -> None:
        messages.append(message)

    headers = [(b"content-length", str(len(raw)).encode()), (b"content-type", b"application/json")]
    scope: Scope = {"type": "http", "path": path, "headers": headers}
    asyncio.run(Agents(engine)(scope, receive, send))
    return Reply(messages)


def calling(name: str, arguments: str, item_id: str = "fc_1") -> list[dict[str, Any]]:
    """A response with one call, as vLLM 0.32 streams it."""
    item = {"type": "function_call", "id": item_id, "call_id": "c", "name": name, "status": "in_progress"}
    about = {"output_index": 0, "item_id": item_id}
    deltas = [{"type": "response.function_call_arguments.delta", **about, "delta": letter} for letter in arguments]
    whole = item | {"arguments": arguments, "status": "completed"}
    response = {"object": "response", "tools": [], "tool_choice": "auto", "status": "completed", "output": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response},
        {"type": "response.output_item.added", "output_index": 0, "item": item | {"arguments": ""}},
        *deltas,
        {"type": "response.function_call_arguments.done", **about, "arguments": arguments, "name": name},
        {"type": "response.output_item.done", "output_index": 0, "item": whole},
        {"type": "response.completed", "response": response | {"output": [whole]}},
    ]
    return [event | {"sequence_number": number} for number, event in enumerate(events)]


def of_type(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["type"] == kind]


@pytest.mark.parametrize("name", NAMES)
def test_what_an_agent_sends_becomes_what_vllm_knows(name: str) -> None:
    path, body = shape(name)
    engine = Engine()
    assert ask(engine, path, body).status == 200
    for tool in engine.asked["tools"]:
        assert tool.get("type", "function") == "function"
        assert "cache_control" not in tool or "input_schema" in tool
    if path == MESSAGES:
        assert all("input_schema" in tool for tool in engine.asked["tools"])
        contents = [message["content"] for message in engine.asked["messages"]]
        blocks = [block for content in contents if isinstance(content, list) for block in content]
        assert {block["type"] for block in blocks} <= SERVED_BLOCKS
    if path == RESPONSES and isinstance(body["input"], list):
        kinds = {item["type"] for item in engine.asked["input"]}
        assert kinds <= {"message", "function_call", "function_call_output", "reasoning"}
        assert "encrypted_content" not in json.dumps(engine.asked["input"])


def test_what_nobody_translates_is_not_touched() -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "temperature": 0.50, "unknown": {"a": [1, 2]}}
    engine = Engine({"choices": []})
    assert ask(engine, CHAT, body).document == {"choices": []}
    assert engine.asked == {"model": "m"} | body


def test_codex_sees_its_namespaces_again() -> None:
    path, body = shape("codex-first-turn")
    engine = Engine(calling("mcp__github__create_issue", '{"title":"x"}'))
    events = ask(engine, path, body).events
    assert "mcp__github__create_issue" in [tool["name"] for tool in engine.asked["tools"]]
    (added,), (done,) = (of_type(events, f"response.output_item.{end}") for end in ("added", "done"))
    assert (added["item"]["namespace"], added["item"]["name"]) == ("mcp__github", "create_issue")
    assert (done["item"]["namespace"], done["item"]["arguments"]) == ("mcp__github", '{"title":"x"}')
    assert of_type(events, "response.function_call_arguments.done")[0]["name"] == "create_issue"
    assert events[-1]["response"]["output"] == [done["item"]]
    assert events[0]["response"]["tools"] == events[-1]["response"]["tools"] == body["tools"]


def test_a_custom_tools_call_is_streamed_as_text() -> None:
    path, body = shape("codex-first-turn")
    events = ask(Engine(calling("apply_patch", json.dumps({"input": PATCH}))), path, body).events
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert not [event for event in events if "function_call" in event["type"]]
    (added,), (done,) = (of_type(events, f"response.output_item.{end}") for end in ("added", "done"))
    deltas = of_type(events, "response.custom_tool_call_input.delta")
    assert "".join(event["delta"] for event in deltas) == PATCH
    assert of_type(events, "response.custom_tool_call_input.done")[0]["input"] == PATCH
    assert (added["item"]["type"], added["item"]["input"]) == ("custom_tool_call", "")
    assert {added["item"]["id"], done["item"]["id"], *(one["item_id"] for one in deltas)} == {"ctc_1"}
    assert done["item"] == {
        "type": "custom_tool_call", "id": "ctc_1", "call_id": "c", "name": "apply_patch", "input": PATCH,
        "status": "completed",
    }  # fmt: skip


def test_a_grammar_is_shown_to_the_model_and_kept_for_the_engine() -> None:
    path, body = shape("codex-first-turn")
    engine = Engine()
    ask(engine, path, body)
    (tool,) = [tool for tool in engine.asked["tools"] if tool["name"] == "apply_patch"]
    assert "start: begin_patch hunk+ end_patch" in tool["description"]
    assert tool["strict"]
    assert list(engine.grammars) == [tool["parameters"]["properties"]["input"]["description"]]


@pytest.mark.parametrize(
    ("kind", "arguments", "found"),
    [
        ("local_shell", {"command": ["ls"]}, {"action": {
            "type": "exec", "command": ["ls"], "env": {}, "timeout_ms": None, "working_directory": None,
        }}),
        ("shell", {"commands": ["ls"]}, {"action": {
            "commands": ["ls"], "timeout_ms": None, "max_output_length": None,
        }}),
        ("apply_patch", {"type": "delete_file", "path": "a"}, {"operation": {"type": "delete_file", "path": "a"}}),
        ("tool_search", {"query": "q"}, {"arguments": {"query": "q"}, "execution": "client"}),
    ],
)  # fmt: skip
def test_a_typed_tools_call_is_its_own_item(kind: str, arguments: Any, found: dict[str, Any]) -> None:
    body = {"input": "x", "tools": [{"type": kind, "execution": "client"}], "tool_choice": {"type": kind}}
    engine = Engine(calling(kind, json.dumps(arguments)))
    events = ask(engine, RESPONSES, body).events
    assert engine.asked["tool_choice"] == {"type": "function", "name": kind}
    item = {"type": f"{kind}_call", "id": "fc_1", "call_id": "c", "status": "completed", **found}
    assert [event["type"] for event in events[1:-1]] == ["response.output_item.added", "response.output_item.done"]
    assert events[-2]["item"] == item
    assert events[-1]["response"]["output"] == [item]


@pytest.mark.parametrize("tools", [[], [{"type": "function", "name": "f"}]])
@pytest.mark.parametrize(("status", "last"), [("completed", "completed"), ("incomplete", "incomplete")])
def test_an_answer_that_was_cut_off_ends_as_openais_does(tools: list[Any], status: str, last: str) -> None:
    response = {"object": "response", "status": status}
    end = {"type": "response.completed", "response": response, "sequence_number": 0}
    reply = ask(Engine([end]), RESPONSES, {"input": "x", "tools": tools, "stream": True})
    assert [event["type"] for event in reply.events] == [f"response.{last}"]
    assert f"event: response.{last}\n" in reply.text


def test_a_call_that_was_cut_off_says_so_or_is_left_out() -> None:
    body = {"input": "x", "tools": [{"type": "local_shell"}, {"type": "function", "name": "f"}]}
    cut = ask(Engine(calling("local_shell", '{"command":["rm')), RESPONSES, body).events
    assert [event["type"] for event in cut] == ["response.created", "response.completed"]
    assert cut[-1]["response"]["output"] == []
    cut = ask(Engine(calling("f", '{"a":')), RESPONSES, body).events
    (item,) = cut[-1]["response"]["output"]
    assert (item["status"], item["arguments"]) == ("incomplete", '{"a":')


def test_tools_that_were_searched_for_can_be_called() -> None:
    path, body = shape("codex-later-turn")
    engine = Engine(calling("mcp__apps__calendar__create_event", "{}"))
    (added,) = of_type(ask(engine, path, body).events, "response.output_item.added")
    assert (added["item"]["namespace"], added["item"]["name"]) == ("mcp__apps__calendar", "create_event")
    calls = [item["name"] for item in engine.asked["input"] if item["type"] == "function_call"]
    assert calls == ["exec_command", "mcp__github__list_issues", "apply_patch", "tool_search", "local_shell"]
    (patch,) = [item for item in engine.asked["input"] if item.get("name") == "apply_patch"]
    assert text_of(patch["arguments"]).startswith("*** Begin Patch\n")


NAMESPACED = {"type": "namespace", "name": "a", "description": "", "tools": [{"type": "function", "name": "b"}]}


@pytest.mark.parametrize(
    ("path", "fields", "message", "param"),
    [
        (RESPONSES, {"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}},
         "The tool `web_search` is not offered", "tool_choice"),
        (RESPONSES, {"tools": [{"type": "image_generation"}], "tool_choice": "required"},
         "The tool `image_generation` is not offered", "tool_choice"),
        (RESPONSES, {"tool_choice": {"type": "file_search"}},
         "The tool `file_search` is not offered", "tool_choice"),
        (MESSAGES, {"tools": [{"name": "f", "input_schema": {}}], "tool_choice": {"type": "tool", "name": "g"}},
         "The tool `g` is not in `tools`.", "tool_choice"),
        (RESPONSES, {"tools": [NAMESPACED, {"type": "function", "name": "a__b"}]},
         "Two tools would be called `a__b`.", "tools"),
        (RESPONSES, {"tools": [{"type": "custom", "name": "t", "format": {
            "type": "grammar", "syntax": "lark", "definition": "start: /(?=a)b/"}}]},
         "The grammar of the tool `t` has the regular expression", "tools"),
        (CHAT, {"tools": [{"type": "custom", "custom": {"name": "t", "format": {"type": "grammar"}}}]},
         "The grammar of the tool `t` must have a `syntax`", "tools"),
        (RESPONSES, {"tools": [{"type": "custom", "name": f"t{n}", "format": {
            "type": "grammar", "syntax": "regex", "definition": "a" * 15_000}} for n in range(2)]},
         "The grammars of custom tools have at most", "tools"),
        (CHAT, {"tools": [{"type": "web_search"}], "tool_choice": "required"},
         "The tool `web_search` is not offered", "tool_choice"),
        (MESSAGES, {"tools": [{"type": "web_search_20250305", "name": "web_search"}],
                    "tool_choice": {"type": "tool", "name": "web_search"}},
         "The tool `web_search` (`web_search_20250305`) is not offered", "tool_choice"),
        (MESSAGES, {"tools": [{"type": "computer_20250124", "name": "computer"}], "tool_choice": {"type": "any"}},
         "The tool `computer` (`computer_20250124`) is not offered", "tool_choice"),
    ],
)  # fmt: skip
def test_what_cannot_be_served_is_refused_by_name(path: str, fields: Any, message: str, param: str) -> None:
    reply = ask(Engine(), path, {"input": "x"} | fields)
    assert reply.status == 400
    assert reply.document["error"]["message"].startswith(message)
    assert reply.document["error"]["param"] == param


@pytest.mark.parametrize("path", [RESPONSES, CHAT, MESSAGES])
def test_what_nobody_forces_is_left_out(path: str) -> None:
    engine = Engine()
    tool = {"type": "web_search_20250305", "name": "web_search"}
    choice: Any = {"type": "auto"} if path == MESSAGES else "auto"
    assert ask(engine, path, {"tools": [tool], "tool_choice": choice}).status == 200
    assert "tools" not in engine.asked


def test_a_choice_of_allowed_tools_shows_no_others() -> None:
    tools = [NAMESPACED, {"type": "function", "name": "c"}, {"type": "custom", "name": "d"}]
    engine = Engine()
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "b"}]}
    ask(engine, RESPONSES, {"input": "x", "tools": tools, "tool_choice": choice})
    assert [tool["name"] for tool in engine.asked["tools"]] == ["a__b"]
    assert engine.asked["tool_choice"] == "required"


def test_custom_tools_of_chat_completions() -> None:
    path, body = shape("chat-custom-tools")
    call = {"id": "1", "type": "function", "function": {"name": "note", "arguments": arguments_of('"a"\n')}}
    other = {"id": "2", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    engine = Engine({"choices": [{"message": {"tool_calls": [dict(call), dict(other)]}}]})
    choice = {"type": "custom", "custom": {"name": "note"}}
    (choices,) = ask(engine, path, body | {"tool_choice": choice}).document["choices"]
    assert choices["message"]["tool_calls"] == [
        {"id": "1", "type": "custom", "custom": {"name": "note", "input": '"a"\n'}}, other,
    ]  # fmt: skip
    assert engine.asked["tool_choice"] == {"type": "function", "function": {"name": "note"}}
    (before,) = engine.asked["messages"][1]["tool_calls"]
    assert before["function"] == {"name": "calc", "arguments": '{"input": "4 + 4"}'}


def test_custom_tools_of_chat_completions_streamed() -> None:
    path, body = shape("chat-custom-tools")
    first = {"index": 0, "id": "1", "type": "function", "function": {"name": "note", "arguments": ""}}
    pieces = [{"index": 0, "function": {"arguments": letter}} for letter in arguments_of("a\n\U0001f600")]
    chunks = [{"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]} for call in [first, *pieces]]
    events = ask(Engine(chunks), path, body).events
    calls = [event["choices"][0]["delta"]["tool_calls"][0] for event in events]
    assert calls[0] == {"index": 0, "id": "1", "type": "custom", "custom": {"name": "note", "input": ""}}
    assert "".join(call["custom"]["input"] for call in calls) == "a\n\U0001f600"


def test_anthropics_typed_tools_get_their_schemas() -> None:
    path, body = shape("anthropic-typed-tools")
    engine = Engine()
    ask(engine, path, body)
    names = ["bash", "str_replace_based_edit_tool", "memory"]
    assert [tool["name"] for tool in engine.asked["tools"]] == names
    assert engine.asked["tools"][0]["input_schema"]["properties"].keys() == {"command", "restart"}


def test_an_anthropic_answer_has_what_anthropics_have() -> None:
    call = {"type": "tool_use", "id": "chatcmpl-tool-2", "name": "f", "input": {}}
    message = {"id": "chatcmpl-1", "type": "message", "content": [call], "stop_reason": "tool_use"}
    document = ask(Engine(message), MESSAGES, {}).document
    assert (document["id"], document["stop_sequence"], document["content"][0]["id"]) == ("msg_1", None, "toolu_2")
    events = [
        {"type": "message_start", "message": {"id": "chatcmpl-1", "type": "message", "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": call},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
    ]
    started, block, delta = ask(Engine(events), MESSAGES, {}).events
    assert (started["message"]["id"], started["message"]["stop_sequence"]) == ("msg_1", None)
    assert block["content_block"]["id"] == "toolu_2"
    assert delta["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}


def test_what_anthropics_servers_did_can_be_read() -> None:
    path, body = shape("claude-code-later-turn")
    engine = Engine()
    ask(engine, path, body)
    texts = [block["text"] for block in engine.asked["messages"][3]["content"] if block["type"] == "text"]
    assert texts[0] == '[web_search: {"query": "hello"}]'
    assert "https://example.com" in texts[1]
    assert "EqgfCioIARgB" not in json.dumps(engine.asked)


WRONG: list[Any] = [None, [[]], {"type": {}, "name": []}, "\ud800"]


def spoiled(value: Any) -> Iterator[Any]:
    """The same with one of its members something else."""
    yield from WRONG
    members: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, member in members:
        for other in spoiled(member):
            copy = value.copy()
            copy[key] = other
            yield copy


CHOICES: dict[str, list[Any]] = {
    RESPONSES: [
        {"type": "custom", "name": "x"},
        {"type": "allowed_tools", "mode": "auto", "tools": [{"name": "x"}]},
    ],
    CHAT: [{"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{"custom": {"name": "x"}}]}}],
    MESSAGES: [{"type": "tool", "name": "x"}],
}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_request_is_for_vllm_to_refuse(name: str) -> None:
    path, body = shape(name)
    bodies = [*spoiled(body)]
    bodies += [body | {"tool_choice": one} for choice in CHOICES[path] for one in spoiled(choice)]
    for one in bodies:
        with suppress(Refused, *UNREADABLE):
            asked = Body(json.dumps(one).encode())
            TRANSLATIONS[path](asked)
            json.loads(asked.written(b"{}"))


@pytest.mark.parametrize("text", ["", "a", 'q"uo\\te', "\n\t\r", "é\U0001f600\\u0041", "\\\\", "\\ud83d"])
@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("step", [1, 2, 5, 1000])
def test_a_text_is_read_from_its_json_however_it_is_cut(text: str, ascii_only: bool, step: int) -> None:
    arguments = json.dumps({"input": text}, ensure_ascii=ascii_only, indent=1)
    reader = OneText()
    pieces = [reader.feed(arguments[at : at + step]) for at in range(0, len(arguments), step)]
    assert "".join(pieces) == text == text_of(arguments)


def test_a_text_that_ends_early_is_read_as_far_as_it_goes() -> None:
    assert text_of('{"input": "half\\n of') == "half\n of"
    assert text_of('{"input": "half\\u00') == "half"
    assert text_of("no JSON") == "no JSON"
