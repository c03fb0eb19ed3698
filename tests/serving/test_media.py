"""Fetching what a request names by address: from the public internet alone, within limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from serving.replica import media
from serving.replica.media import MediaFetcher, MediaRefused, is_public


@dataclass
class Site:
    port: int = 0
    asked: list[str] = field(default_factory=list)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/{path}"


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()

    async def answer(request: web.Request) -> web.StreamResponse:
        site.asked.append(request.path)
        match request.path:
            case "/moved":
                raise web.HTTPFound(f"http://127.0.0.1:{site.port}/image")
            case "/slow":
                await asyncio.sleep(10)
            case "/endless":
                stream = web.StreamResponse()
                await stream.prepare(request)
                while True:
                    await stream.write(b"x" * 65536)
            case "/missing":
                raise web.HTTPNotFound
        return web.Response(body=b"image", headers={"set-cookie": "a=b"})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    tcp = web.TCPSite(runner, "127.0.0.1", 0)
    await tcp.start()
    site.port = runner.addresses[0][1]
    yield site
    await runner.cleanup()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1",
    ],
)  # fmt: skip
def test_no_address_of_the_operators_network_is_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:8.8.8.8"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "127.1", "0x7f.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0"]
)
async def test_this_machine_is_reached_by_none_of_its_names(site: Site, host: str) -> None:
    with pytest.raises(MediaRefused):
        await MediaFetcher().get(site.url("image", host))
    assert site.asked == []


async def test_what_is_there_is_fetched(site: Site) -> None:
    fetcher = MediaFetcher(allowed=lambda _: True)
    assert await fetcher.get(site.url("image")) == b"image"
    assert await fetcher.get(site.url("image", "localhost")) == b"image"


async def test_a_name_is_refused_by_what_it_resolves_to(site: Site) -> None:
    with pytest.raises(MediaRefused, match="not a public one"):
        await MediaFetcher(allowed=lambda address: address != "127.0.0.1").get(site.url("image", "localhost"))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("moved", "answered with 302"),
        ("missing", "answered with 404"),
        ("endless", "larger than"),
        ("slow", "did not come"),
    ],
)
async def test_redirects_sizes_and_times_are_bounded(
    site: Site, path: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media, "MOST_SECONDS", 0.5)
    with pytest.raises(MediaRefused, match=message):
        await MediaFetcher(allowed=lambda _: True).get(site.url(path), most_bytes=200_000)
    assert site.asked == [f"/{path}"]


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://example.org/x", "http://", "http://[", "gopher://x", "//x", "http://a b/", "x"],
)
async def test_what_is_no_address_of_the_web_is_refused(url: str) -> None:
    with pytest.raises(MediaRefused):
        await MediaFetcher().get(url)
