"""The way of a request around an app that is not vLLM: ends that a real engine seldom shows."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from serving.metering.journal import FileJournal
from serving.metering.meter import Limits, MeterBook, Rejection, Request
from serving.replica.answer import current_request
from serving.replica.asgi import App, Message, Receive, Scope, Send, send_json
from serving.replica.guard import MOST_COUNTS_AT_ONCE, Guard
from tests.serving.test_meter import Sequence


class Engine:
    def __init__(self) -> None:
        self.healthy = True
        self.running: set[str] = set()
        self.aborted: list[str] = []

    def is_healthy(self) -> bool:
        return self.healthy

    def unfinished(self, request: Request) -> list[str]:
        return [sequence.id for sequence in request.sequences if sequence.id in self.running]

    async def abort(self, sequence_ids: list[str]) -> None:
        if not self.healthy:
            raise RuntimeError("the engine is dead")
        self.aborted += sequence_ids
        self.running.difference_update(sequence_ids)


class Port:
    """One request at a time, over ASGI."""

    def __init__(self, app: App, tmp_path: Path, seats: int = 8) -> None:
        self.engine = Engine()
        self.book = MeterBook(FileJournal(tmp_path, "r"))
        self.guard = Guard(app, engine=self.engine, book=self.book, secret="s", queue_limit=2, seats=seats)
        self.sent: list[Message] = []

    async def post(
        self, headers: dict[str, str] | None = None, *, path: str = "/v1/completions", hang_up: bool = False
    ) -> None:
        sent = {"x-cluster-secret": "s", "x-appliance-request": "a", "x-request-id": "x"} | (headers or {})
        scope: Scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        }
        messages: list[Message] = [{"type": "http.request", "body": b"{}", "more_body": False}]
        if hang_up:
            messages.append({"type": "http.disconnect"})

        async def receive() -> Message:
            if not messages:
                await asyncio.Event().wait()
            return messages.pop(0)

        async def send(message: Message) -> None:
            self.sent.append(message)

        await self.guard(scope, receive, send)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> list[tuple[str, str]]:
        return [(name.decode(), value.decode()) for name, value in self.sent[0]["headers"]]

    def header(self, name: str) -> str:
        return dict(self.headers)[name]


EVENT_STREAM = [(b"content-type", b"text/event-stream; charset=utf-8")]


def _asked(engine_id: str, tokens: int, *, has_grammar: bool = False, given_up: bool = False) -> None:
    request = current_request.get()
    assert request is not None
    request.grammar_bytes = int(has_grammar)
    request.sequences.append(Sequence(id=engine_id, completion_tokens=tokens, given_up=given_up))


async def _stream(send: Send, *parts: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": EVENT_STREAM})
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def test_of_a_stream_what_it_sent_is_known_while_it_runs(tmp_path: Path) -> None:
    """Bytes that are held back at the beginning, since the request may still be refused, are counted as well."""
    seen: list[tuple[int, int] | None] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = current_request.get()
        assert request is not None
        request.ask(10, 1)
        await send({"type": "http.response.start", "status": 200, "headers": EVENT_STREAM})
        for tokens, part in ((1, b"data: 1\n\n"), (2, b""), (1, b"data: 12\n\n")):
            if part and not request.sequences:
                await send({"type": "http.response.body", "body": b"event: x\n\n", "more_body": True})
                _asked("s", 4)
            request.give(tokens)
            if part:
                await send({"type": "http.response.body", "body": part, "more_body": True})
            request.asked_for_more()
            delivered = request.delivered()
            seen.append(None if delivered is None else (delivered[0], delivered[1].completion_tokens))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    await Port(app, tmp_path).post()
    assert seen == [(19, 1), (19, 1), (29, 4)]


async def test_what_is_not_streamed_is_never_certain(tmp_path: Path) -> None:
    requests: list[Request] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = current_request.get()
        assert request is not None
        request.ask(10, 1)
        requests.append(request)
        await send_json(send, 200, {})

    await Port(app, tmp_path).post()
    assert requests[0].delivered() is None


async def test_the_meter_is_the_last_part_of_a_stream(tmp_path: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["headers"] == []
        _asked("s", 2)
        await _stream(send, b"data: 1\n\n", b"data: [DONE]\n\n")

    port = Port(app, tmp_path)
    await port.post()
    bodies = [message["body"] for message in port.sent[1:]]
    assert bodies[:2] == [b"data: 1\n\n", b"data: [DONE]\n\n"]
    assert [message["more_body"] for message in port.sent[1:]] == [True, True, True, False]
    assert json.loads(bodies[-1].removeprefix(b": meter ")) == {
        "prompt_tokens": 10, "cached_tokens": 0, "completion_tokens": 2, "ended": "complete", "images": 0,
        "audio_seconds": 0, "model": "",
    }  # fmt: skip


@pytest.mark.parametrize("healthy", [True, False])
async def test_an_engine_that_fails_and_lives_says_so(tmp_path: Path, healthy: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        port.engine.healthy = healthy
        await send_json(send, 500, {"error": {"message": "Internal server error"}})

    port = Port(app, tmp_path)
    await port.post()
    assert port.status == 500
    assert (("x-appliance-refused", "failed") in port.headers) is healthy


@pytest.mark.parametrize("how", ["whole", "stream", "stream that breaks off"])
@pytest.mark.parametrize("tokens", [0, 1, 500])
async def test_a_grammar_that_cannot_be_followed_is_the_clients_fault(
    tmp_path: Path, how: str, tokens: int
) -> None:
    """vLLM has parsed it, and finds out too late: in the middle of the answer."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        _asked("s", tokens, has_grammar=True, given_up=True)
        if how == "stream":
            await _stream(send, b'data: {"role":"assistant"}\n\n', b'data: {"error":{}}\n\n')
        elif how == "stream that breaks off":
            await send({"type": "http.response.start", "status": 200, "headers": EVENT_STREAM})
            await send({"type": "http.response.body", "body": b"event: response.created\n\n", "more_body": True})
            raise RuntimeError
        else:
            await send_json(send, 500, {"error": {"message": "Internal server error"}})

    port = Port(app, tmp_path)
    await port.post()
    assert port.status == 400
    assert b"cannot be compiled" in port.sent[1]["body"]
    assert len(port.sent) == 2
    assert json.loads(port.header("x-appliance-meter"))["ended"] == "refused"


@pytest.mark.parametrize(("status", "given_up"), [(500, False), (503, True)])
async def test_a_failure_that_no_grammar_explains_stays_one_and_is_metered(
    tmp_path: Path, status: int, given_up: bool
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        _asked("s", 4, has_grammar=True, given_up=given_up)
        await send_json(send, status, {"error": {"message": "Internal server error"}})

    port = Port(app, tmp_path)
    await port.post()
    assert port.status == status
    assert port.header("x-appliance-refused") == "failed"
    meter = json.loads(port.header("x-appliance-meter"))
    assert (meter["completion_tokens"], meter["ended"]) == (4, "failed")


async def test_a_stream_that_fails_before_it_began_is_a_failure_that_another_replica_may_mend(
    tmp_path: Path,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        _asked("s", 4, has_grammar=True)
        await _stream(send, b'data: {"role":"assistant"}\n\n', b'data: {"error":{}}\n\n', b"data: [DONE]\n\n")

    port = Port(app, tmp_path)
    await port.post()
    assert port.status == 500
    assert port.header("x-appliance-refused") == "failed"


async def test_one_of_several_answers_that_fails_at_once_is_no_beginning(tmp_path: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        _asked("failed", 1, has_grammar=True, given_up=True)
        _asked("waits", 0, has_grammar=True)
        port.engine.running.add("waits")
        await _stream(send, b'data: {"role":"assistant"}\n\n', b'data: {"error":{}}\n\n')

    port = Port(app, tmp_path)
    await port.post()
    assert port.status == 400
    assert port.engine.aborted == ["waits"]


async def test_a_stream_that_breaks_off_before_it_began_is_a_failure_that_another_replica_may_mend(
    tmp_path: Path,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": EVENT_STREAM})
        await send({"type": "http.response.body", "body": b"event: response.created\n\n", "more_body": True})
        raise RuntimeError

    port = Port(app, tmp_path)
    await port.post()
    assert port.status == 500
    assert port.header("x-appliance-refused") == "failed"
    assert json.loads(port.header("x-appliance-meter"))["ended"] == "failed"


async def test_a_stream_that_follows_its_grammar_is_not_held_back(tmp_path: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        _asked("s", 1, has_grammar=True)
        port.engine.running.add("s")
        await send({"type": "http.response.start", "status": 200, "headers": EVENT_STREAM})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        assert [message.get("body") for message in port.sent] == [None, b"data: 1\n\n"]
        await send({"type": "http.response.body", "body": b'data: {"error":{}}\n\n', "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    port = Port(app, tmp_path)
    await port.post()
    assert port.status == 200


async def test_an_answer_that_vllm_gives_up_leaves_nothing_running(tmp_path: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        _asked("lost", 5)
        port.engine.running.add("lost")
        raise RuntimeError

    port = Port(app, tmp_path)
    with pytest.raises(RuntimeError):
        await port.post()
    assert port.engine.aborted == ["lost"]
    meter = await port.book.find("a", 0)
    assert meter is not None
    assert (meter.completion_tokens, meter.ended) == (5, "failed")


async def test_a_dead_engine_is_a_failed_answer(tmp_path: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        _asked("s", 3)
        port.engine.healthy = False
        await _stream(send, b'data: {"error":{}}\n\n')

    port = Port(app, tmp_path)
    await port.post()
    meter = await port.book.find("a", 0)
    assert meter is not None
    assert (meter.completion_tokens, meter.ended) == (3, "failed")


async def test_an_engine_that_cannot_abort_still_ends_the_meter(tmp_path: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        _asked("lost", 5)
        port.engine.running.add("lost")
        port.engine.healthy = False
        await _stream(send, b'data: {"error":{}}\n\n')

    port = Port(app, tmp_path)
    await port.post()
    assert port.book.in_flight == 0
    assert json.loads(port.sent[-1]["body"].removeprefix(b": meter "))["ended"] == "failed"


@pytest.mark.parametrize("raises", [False, True])
async def test_a_stream_that_the_engine_rejects_before_its_first_token_is_a_400(
    tmp_path: Path, raises: bool
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = current_request.get()
        assert request is not None
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"event: response.created\n\n", "more_body": True})
        _asked("the other prompt's", 3)
        request.rejection = Rejection("no", "prompt")
        if raises:
            raise ValueError
        await send({"type": "http.response.body", "body": b'data: {"error":{}}\n\n', "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    port = Port(app, tmp_path)
    await port.post()
    assert port.status == 400
    assert json.loads(port.sent[-1]["body"])["error"] == {"message": "no", "param": "prompt"}
    assert len(port.sent) == 2
    meter = json.loads(port.header("x-appliance-meter"))
    assert (meter["ended"], meter["prompt_tokens"], meter["completion_tokens"]) == ("refused", 0, 0)


async def test_a_stream_goes_out_from_the_moment_the_engine_takes_the_request(tmp_path: Path) -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"event: a\n\n", "more_body": True})
        seen.append(len(port.sent))
        _asked("s", 1)
        await send({"type": "http.response.body", "body": b"event: b\n\n", "more_body": True})
        seen.append(len(port.sent))
        await send({"type": "http.response.body", "body": b"event: c\n\n", "more_body": True})
        seen.append(len(port.sent))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    port = Port(app, tmp_path)
    await port.post()
    assert seen == [0, 3, 4]
    assert b"".join(message.get("body", b"") for message in port.sent).startswith(
        b"event: a\n\nevent: b\n\nevent: c"
    )


async def test_hanging_up_before_a_json_answer_is_cancelled(tmp_path: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        _asked("s", 4)
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.start", "status": 200, "headers": []})  # vLLM answers "null"
        await send({"type": "http.response.body", "body": b"null"})

    port = Port(app, tmp_path)
    await port.post(hang_up=True)
    assert json.loads(port.header("x-appliance-meter"))["ended"] == "cancelled"


@pytest.mark.parametrize(
    ("prepare", "headers", "status", "refused"),
    [
        ("draining", {}, 503, "draining"),
        ("full", {}, 503, "queue"),
        ("", {"x-cluster-secret": "t"}, 403, None),
        ("", {"x-appliance-request": ""}, 400, None),
        ("", {"x-appliance-prompt-limit": "many"}, 400, None),
    ],
)
async def test_what_never_reaches_the_engine(
    tmp_path: Path, prepare: str, headers: dict[str, str], status: int, refused: str | None
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError

    port = Port(app, tmp_path)
    port.guard.draining = prepare == "draining"
    if prepare == "full":
        for name in "bc":
            port.book.begin(name, Limits())
    await port.post(headers)
    assert port.status == status
    found: dict[bytes, Any] = dict(port.sent[0]["headers"])
    assert found.get(b"x-appliance-refused") == (refused.encode() if refused else None)
    assert await port.book.find("a", 0) is None


COUNT = {"x-appliance-path": "/v1/completions"}


async def test_counting_is_refused_while_draining(tmp_path: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError

    port = Port(app, tmp_path)
    port.guard.draining = True
    await port.post(COUNT, path="/count")
    assert (port.status, port.header("x-appliance-refused")) == (503, "draining")


async def test_only_so_many_prompts_are_counted_at_once(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = current_request.get()
        assert request is not None
        request.ask(7, 1)
        await go_on.wait()

    port = Port(app, tmp_path)
    counting = [asyncio.create_task(port.post(COUNT, path="/count")) for _ in range(MOST_COUNTS_AT_ONCE)]
    await asyncio.sleep(0)
    await port.post(COUNT, path="/count")
    assert (port.status, port.header("x-appliance-refused")) == (503, "queue")
    go_on.set()
    await asyncio.gather(*counting)
    port.sent.clear()
    await port.post(COUNT, path="/count")
    assert (port.status, json.loads(port.sent[1]["body"])) == (
        200,
        {"prompt_tokens": 7, "images": 0, "audio_seconds": 0},
    )


async def test_who_hangs_up_while_waiting_in_line_is_not_served_and_pays_nothing(tmp_path: Path) -> None:
    served = []
    go_on = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        served.append(message["body"])
        _asked("s", 2)
        await go_on.wait()
        await _stream(send, b"data: [DONE]\n\n")

    port = Port(app, tmp_path, seats=1)
    first = asyncio.create_task(port.post())
    await asyncio.sleep(0)
    waiting = asyncio.create_task(port.post({"x-appliance-request": "b"}, hang_up=True))
    await asyncio.wait_for(waiting, 1)
    meter = await port.book.find("b", 0)
    assert meter is not None
    assert (meter.ended, meter.prompt_tokens) == ("cancelled", 0)
    go_on.set()
    await first
    assert served == [b"{}"]


async def test_who_waits_in_line_keeps_what_was_sent(tmp_path: Path) -> None:
    served = []
    go_on = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        served.append((await receive())["body"])
        await go_on.wait()
        await _stream(send, b"data: [DONE]\n\n")

    port = Port(app, tmp_path, seats=1)
    tasks = [asyncio.create_task(port.post({"x-appliance-request": name})) for name in "ab"]
    await asyncio.sleep(0.05)
    assert len(served) == 1
    go_on.set()
    await asyncio.gather(*tasks)
    assert served == [b"{}", b"{}"]
