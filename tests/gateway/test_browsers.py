"""What browsers, probes and mistyped addresses get."""

from __future__ import annotations

import pytest

from appliance.gateway.paths import meant
from tests.gateway.conftest import House

PAGE = "https://page.example"
PREFLIGHT = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-lang,anthropic-version",
}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/models", "/openapi.json"])
async def test_a_browser_may_ask_from_any_page(house: House, path: str) -> None:
    async with house.http.options(house.url + path, headers=PREFLIGHT) as answer:
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert "x-stainless-lang" in answer.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in answer.headers


async def test_answers_and_errors_can_be_read_by_a_page(house: House) -> None:
    customer = await house.customer()
    body = {"model": "smollm2", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8}
    for key, path, stream, status in (
        (customer.key, "/v1/chat/completions", True, 200),
        (customer.key, "/v1/chat/completions", False, 200),
        ("sk-ap-nobody", "/v1/chat/completions", False, 401),
        (customer.key, "/v1/nothing", False, 404),
        (customer.key, "/v1/models", False, 405),
    ):
        headers = {"authorization": f"Bearer {key}", "origin": PAGE}
        async with house.http.post(house.url + path, json=body | {"stream": stream}, headers=headers) as answer:
            assert answer.status == status
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "retry-after" in answer.headers["access-control-expose-headers"]
            await answer.read()


async def test_who_is_no_browser_gets_nothing_of_it(house: House) -> None:
    async with house.http.get(house.url + "/v1/models") as answer:
        assert not any(name.lower().startswith("access-control") for name in answer.headers)
    async with house.http.get(house.url + "/metrics", headers={"origin": PAGE}) as answer:
        assert answer.status == 200
        assert not any(name.lower().startswith("access-control") for name in answer.headers)


class TestWithAList:
    @pytest.fixture
    def environment(self, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
        config = tmp_path_factory.mktemp("config") / "appliance.yaml"
        config.write_text(f"gateway: {{cors_origins: ['{PAGE}']}}")
        return {"APPLIANCE_CONFIG": str(config)}

    async def test_only_the_operators_pages_may_ask(self, house: House) -> None:
        async with house.http.options(house.url + "/v1/models", headers=PREFLIGHT) as answer:
            assert answer.headers["access-control-allow-origin"] == PAGE
            assert "Origin" in answer.headers["vary"]
        stranger = PREFLIGHT | {"origin": "https://other.example"}
        async with house.http.options(house.url + "/v1/models", headers=stranger) as answer:
            assert answer.status == 400
            assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/smollm2", "/openapi.json", "/livez", "/readyz"])
async def test_the_head_of_what_can_be_got_is_the_same_without_the_body(house: House, path: str) -> None:
    async with house.http.get(house.url + path) as whole, house.http.head(house.url + path) as head:
        assert head.status == whole.status
        assert head.headers["content-type"] == whole.headers["content-type"]
        assert int(head.headers["content-length"]) == len(await whole.read())
        assert await head.read() == b""


async def test_options_and_errors_say_by_which_methods(house: House) -> None:
    for path, methods in (("/v1/chat/completions", "OPTIONS, POST"), ("/v1/models", "GET, HEAD, OPTIONS")):
        async with house.http.options(house.url + path) as answer:
            assert (answer.status, answer.headers["allow"]) == (204, methods)
    async with house.http.options(house.url + "/v1/nothing") as answer:
        assert answer.status == 404
    async with house.http.head(house.url + "/v1/chat/completions") as answer:
        assert (answer.status, answer.headers["allow"]) == (405, "POST")


async def test_a_mistyped_path_is_told_what_is_meant(house: House) -> None:
    for path in ("/v1/chat/completions/", "/v1/v1/chat/completions", "/chat/completions", "/v1//chat/completions"):
        async with house.http.post(house.url + path, json={}) as answer:
            assert answer.status == 404
            message = (await answer.json())["error"]["message"]
            assert message == "There is nothing at this path. Did you mean /v1/chat/completions?"


def test_what_is_meant() -> None:
    assert meant("/v1/messages/count_tokens/") == "/v1/messages/count_tokens"
    assert meant("/openai/v1/embeddings") == "/v1/embeddings"
    assert meant("/models/") == "/v1/models"
    assert meant("/completions") == "/v1/completions"
    assert meant("/v1/chat/completions") is None
    assert meant("/") is None
    assert meant("/somewhere/else") is None
