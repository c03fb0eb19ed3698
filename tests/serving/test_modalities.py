"""Images and recordings on real engines: counted, bounded, and kept from other tenants."""

from __future__ import annotations

import base64
import io
import json
import math
import struct
import subprocess
import sys
import time
import uuid
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image
from starlette.requests import Request

from serving.engine import handlers
from tests.serving.conftest import SECRET

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

START_SECONDS = 240


@dataclass
class One:
    """An engine of its own."""

    name: str
    url: str
    input: list[str]
    endpoints: list[str]

    async def post(self, path: str, body: Any, /, **headers: str) -> tuple[int, dict[str, str], str]:
        sent = {f"x-appliance-{name.replace('_', '-')}": value for name, value in headers.items()}
        sent |= {"x-cluster-secret": SECRET, "x-appliance-request": str(uuid.uuid4())}
        body = {"json": {"model": self.name} | body} if isinstance(body, dict) else {"data": body}
        async with aiohttp.ClientSession() as http, http.post(self.url + path, headers=sent, **body) as answer:
            return (
                answer.status,
                {key.lower(): value for key, value in answer.headers.items()},
                await answer.text(),
            )


def run(name: str, context_length: int, smollm2: Path, home: Path) -> Iterator[One]:
    model = home / name
    subprocess.run([sys.executable, "-m", "tests.serving.tiny_models", name, smollm2, model], check=True)
    entry = {
        "id": name, "source": f"directory:{model}", "context_length": context_length, "gpus": 0,
        "rates": {"input": "1", "cached_input": "1", "output": "1"}, "engine_args": {"max_num_seqs": 4},
    }  # fmt: skip
    log = (home / "log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.serving.one_engine", home, json.dumps(entry)], stdout=log, stderr=log
    )
    try:
        began = time.monotonic()
        while not (home / "port").exists():
            assert process.poll() is None, (home / "log").read_text()[-3000:]
            assert time.monotonic() - began < START_SECONDS
            time.sleep(0.2)
        time.sleep(0.2)
        traits = json.loads((home / "traits").read_text())
        yield One(name, f"http://127.0.0.1:{(home / 'port').read_text()}", *traits)
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def eye(converted_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[One]:
    yield from run("eye", 1024, converted_models / "smollm2", tmp_path_factory.mktemp("eye"))


@pytest.fixture(scope="module")
def ear(converted_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[One]:
    yield from run("ear", 448, converted_models / "smollm2", tmp_path_factory.mktemp("ear"))


def picture(colour: str = "red") -> str:
    data = io.BytesIO()
    Image.new("RGB", (80, 60), colour).save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def seen(url: str, count: int = 1) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"type": "text", "text": "What is it?"}]
    parts += [{"type": "image_url", "image_url": {"url": url}}] * count
    return {"messages": [{"role": "user", "content": parts}], "max_tokens": 4, "ignore_eos": True}


def recording(seconds: float, rate: int = 16000) -> bytes:
    data = io.BytesIO()
    with wave.open(data, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        samples = (int(8000 * math.sin(number / 20)) for number in range(int(seconds * rate)))
        writer.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return data.getvalue()


def form(audio: bytes, **fields: str) -> aiohttp.FormData:
    data = aiohttp.FormData()
    for name, value in {"model": "ear", "language": "en", "max_completion_tokens": "8", **fields}.items():
        data.add_field(name, value)
    data.add_field("file", audio, filename="a.wav", content_type="audio/wav")
    return data


def meter_of(headers: dict[str, str], text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(headers.get("x-appliance-meter") or text.rpartition("\n\n: meter ")[2])
    return found


async def test_an_upload_is_spooled_to_no_disk() -> None:
    handlers.keep_uploads_in_memory()
    unread = [form(recording(65))()]
    content_type, body = unread[0].content_type, b""

    class Sink:
        async def write(self, data: bytes) -> None:
            nonlocal body
            body += data

    await unread[0].write(Sink())  # type: ignore[arg-type]
    assert len(body) > 1 << 20

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", content_type.encode())]}
    async with Request(scope, receive).form() as parsed:
        assert parsed["file"].file._rolled is False  # type: ignore[union-attr]


async def test_an_image_is_counted_and_its_tokens_are_those_of_usage(eye: One) -> None:
    assert eye.input == ["text", "image"]
    data = f"data:image/png;base64,{picture()}"
    for count in (1, 2):
        status, headers, text = await eye.post("/v1/chat/completions", seen(data, count))
        meter, usage = meter_of(headers, text), json.loads(text)["usage"]
        assert (status, meter["images"]) == (200, count)
        assert (meter["prompt_tokens"], meter["completion_tokens"]) == (usage["prompt_tokens"], 4)
    block = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": picture()}}
    message = {"role": "user", "content": [block, {"type": "text", "text": "What is it?"}]}
    status, headers, text = await eye.post("/v1/messages", {"messages": [message], "max_tokens": 3})
    assert (status, meter_of(headers, text)["images"]) == (200, 1)
    part = {"type": "input_image", "image_url": data, "detail": "auto"}
    body = {"input": [{"role": "user", "content": [part]}], "max_output_tokens": 3}
    status, headers, text = await eye.post("/v1/responses", body)
    assert (status, meter_of(headers, text)["images"]) == (200, 1)


async def test_no_more_images_than_were_held_for(eye: One) -> None:
    body = seen(f"data:image/png;base64,{picture()}", 2)
    status, headers, _ = await eye.post("/v1/chat/completions", body, images="1")
    assert (status, headers["x-appliance-refused"]) == (400, "images")
    status, _, text = await eye.post("/count", body, path="/v1/chat/completions")
    assert (status, json.loads(text)["images"]) == (200, 2)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/x.png", "http://localhost:1/x.png", "http://169.254.169.254/latest/meta-data",
        "http://2130706433/", "file:///etc/hostname", "data:image/png,xx", "data:image/png;base64,aGVsbG8=",
        "data:",
    ],
)  # fmt: skip
async def test_an_image_that_cannot_be_had_is_the_clients_mistake(eye: One, url: str) -> None:
    status, headers, text = await eye.post("/v1/chat/completions", seen(url))
    assert status == 400, text
    assert meter_of(headers, text)["prompt_tokens"] == 0


async def test_the_same_image_is_cached_for_its_tenant_alone(eye: One) -> None:
    story = [{"type": "text", "text": "one two three " * 60}]
    part = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture('blue')}"}}]
    body = {"messages": [{"role": "user", "content": part + story}], "max_tokens": 1}
    cached = [
        meter_of(*(await eye.post("/v1/chat/completions", body, salt=salt))[1:])["cached_tokens"]
        for salt in ("one", "one", "other")
    ]
    assert cached[0] == cached[2] == 0
    assert cached[1] > 100


async def test_a_recording_is_measured_in_seconds_begun(ear: One) -> None:
    assert ear.input == ["audio"]
    assert "/v1/chat/completions" not in ear.endpoints
    for path, seconds, fields in (
        ("/v1/audio/transcriptions", 2.5, {}),
        ("/v1/audio/transcriptions", 65, {}),
        ("/v1/audio/transcriptions", 3, {"stream": "true"}),
        ("/v1/audio/transcriptions", 3, {"response_format": "verbose_json"}),
        ("/v1/audio/translations", 3, {}),
    ):
        status, headers, text = await ear.post(path, form(recording(seconds), **fields))
        assert status == 200, text
        meter = meter_of(headers, text)
        assert (meter["audio_seconds"], meter["ended"]) == (math.ceil(seconds), "complete")
        assert meter["prompt_tokens"] == meter["completion_tokens"] == 0
        if '"usage"' in text:
            assert json.loads(text)["usage"]["seconds"] == meter["audio_seconds"]


async def test_a_recording_that_is_longer_than_was_held_for_is_not_heard(ear: One) -> None:
    path = "/v1/audio/transcriptions"
    status, headers, text = await ear.post(path, form(recording(5)), audio_seconds="4")
    assert (status, headers["x-appliance-refused"]) == (400, "audio")
    assert meter_of(headers, text)["audio_seconds"] == 0
    status, _, text = await ear.post("/count", form(recording(5.1)), path=path)
    assert (status, json.loads(text)["audio_seconds"]) == (200, 6)
    status, _, text = await ear.post(path, form(b"no recording"))
    assert status == 400, text
