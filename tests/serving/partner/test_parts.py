"""The parts of a partner's replica that decide without asking anybody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.catalog.models import Model, ModelsError, parse_models
from serving.partner import keys
from serving.partner.breaker import LONGEST_PAUSE_SECONDS, MOST_FAILURES, PAUSE_SECONDS, Breaker
from serving.partner.events import MOST_EVENT_BYTES, EventReader, EventTooLarge

ENTRY: dict[str, Any] = {
    "id": "big",
    "partner": {"name": "Example AI", "url": "https://api.example.com/v1", "key": "EXAMPLE_KEY"},
    "context_length": 4096,
    "rates": {"input": "1", "cached_input": "0.1", "output": "2"},
}
OWN = {key: value for key, value in ENTRY.items() if key != "partner"} | {"id": "own", "source": "directory:/m"}


def parsed(**partner: Any) -> Model:
    (model,) = parse_models({"models": [{**ENTRY, "partner": ENTRY["partner"] | partner}]})
    return model


def test_a_partner_has_our_name_for_the_model_unless_it_has_its_own() -> None:
    for model, name in ((parsed(), "big"), (parsed(model="vendor/big:free"), "vendor/big:free")):
        assert model.partner is not None
        assert (model.partner.model, model.partner.url) == (name, "https://api.example.com")
        assert model.gpus_of_each_replica(8) == 0


@pytest.mark.parametrize(
    ("partner", "message"),
    [
        ({"url": "http://api.example.com/v1"}, r"models\[0\] \(big\): partner.url: only a private address"),
        ({"url": "http://93.184.216.34/v1"}, r"only a private address"),
        ({"url": "ftp://10.0.0.1"}, r"partner.url: expected something like"),
        ({"url": "https://user:pw@api.example.com"}, r"partner.url"),
        ({"endpoints": ["/v1/audio/transcriptions"]}, r"partner.endpoints: '/v1/audio/transcriptions' is none of"),
        ({"key": "sk-a-key-itself"}, r"partner.key"),
        ({"name": ""}, r"partner.name"),
        ({"retries": 3}, r"unknown field `retries`"),
    ],
)
def test_an_error_names_entry_and_field(partner: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelsError, match=message):
        parsed(**partner)


@pytest.mark.parametrize("url", ["http://10.1.2.3:8000/v1", "http://localhost:9", "http://[::1]:9/v1"])
def test_an_address_of_the_operators_own_network_needs_no_tls(url: str) -> None:
    assert parsed(url=url).partner is not None


@pytest.mark.parametrize(
    ("fallbacks", "message"),
    [
        (["own"], r"\(own\): fallbacks: expected other models, each once, got 'own'"),
        (["nobody"], r"got 'nobody'"),
        (["big", "big"], r"each once, got 'big'"),
    ],
)
def test_fallbacks_are_other_models(fallbacks: list[str], message: str) -> None:
    with pytest.raises(ModelsError, match=message):
        parse_models({"models": [OWN | {"fallbacks": fallbacks}, ENTRY]})


def test_a_fallback_can_read_what_the_model_can() -> None:
    with pytest.raises(ModelsError, match=r"the context of big is shorter than 8192 tokens"):
        parse_models({"models": [OWN | {"context_length": 8192, "fallbacks": ["big"]}, ENTRY]})
    models = parse_models({"models": [OWN | {"fallbacks": ["big"]}, ENTRY]})
    assert models[0].fallbacks == ("big",)


def test_a_partners_model_is_nobodys_base() -> None:
    adapter = {"id": "lora", "base": "big", "source": "directory:/l", "rates": ENTRY["rates"]}
    with pytest.raises(ModelsError, match="base: there is no model 'big'"):
        parse_models({"models": [ENTRY, adapter]})


def test_a_breaker_opens_after_failures_in_a_row_and_tries_one_request_at_a_time() -> None:
    breaker, now = Breaker(), 100.0
    for _ in range(MOST_FAILURES - 1):
        breaker.failed(now)
    breaker.succeeded()
    for _ in range(MOST_FAILURES):
        assert breaker.admits(now)
        breaker.failed(now)
    assert breaker.is_open
    assert not breaker.admits(now + PAUSE_SECONDS - 0.1)
    assert breaker.admits(now + PAUSE_SECONDS)
    assert not breaker.admits(now + PAUSE_SECONDS)
    breaker.abandoned()
    assert breaker.admits(now + PAUSE_SECONDS)
    breaker.succeeded()
    assert breaker.admits(now)


def test_each_pause_of_a_breaker_is_twice_the_last_one() -> None:
    breaker, now, pauses = Breaker(), 0.0, []
    for _ in range(MOST_FAILURES):
        breaker.failed(now)
    for _ in range(6):
        since = now
        while not breaker.admits(now):
            now += 1
        pauses.append(now - since)
        breaker.failed(now)
    assert pauses == [PAUSE_SECONDS * 2**n for n in range(4)] + [LONGEST_PAUSE_SECONDS] * 2


STREAM = (
    b": hello\r\n\r\ndata: one\n\ndata:two\r\ndata: three\r\n\r\nevent: x\nid: 1\n\rdata: four\r\rdata: [DONE]\n\n"
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_are_the_same_however_they_are_cut(cuts: list[int]) -> None:
    reader, found, at = EventReader(), [], 0
    for cut in [*sorted(cuts), len(STREAM)]:
        found += reader.feed(STREAM[at:cut])
        at = cut
    assert found == [b"one", b"two\nthree", b"four", b"[DONE]"]


def test_an_event_without_an_end_is_not_collected_for_ever() -> None:
    reader = EventReader()
    reader.feed(b"x" * MOST_EVENT_BYTES)
    with pytest.raises(EventTooLarge):
        reader.feed(b"x")


def test_keys_come_from_the_environment_and_stay_for_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    models = [parsed(), parsed(key="OTHER_KEY")]
    with pytest.raises(keys.KeyMissing, match="EXAMPLE_KEY is not set: it is the key for Example AI"):
        keys.keep(tmp_path, models, {"OTHER_KEY": "o"})
    keys.keep(tmp_path, models, {"EXAMPLE_KEY": "e", "OTHER_KEY": "o"})
    keys.keep(tmp_path, models, {"EXAMPLE_KEY": "newer"})
    assert (keys.read(tmp_path, "EXAMPLE_KEY"), keys.read(tmp_path, "OTHER_KEY")) == ("newer", "o")
    file = tmp_path / "secrets/partner_keys"
    assert file.stat().st_mode & 0o777 == 0o600
    keys.keep(tmp_path, models[:1], {})
    assert keys.read(tmp_path, "OTHER_KEY") == "o"  # until nobody is declared who needs it
    keys.forget_others(tmp_path, models[:1])
    assert json.loads(file.read_text()) == {"EXAMPLE_KEY": "newer"}  # what is not used is not kept
