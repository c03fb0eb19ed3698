"""A grammar is tried in a process that can be ended; tenants have their turns."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import xgrammar
from transformers import AutoTokenizer

from serving.engine import bounded
from serving.engine.bounded import BoundedCompiler, Turns, is_small, tenant_of_this_request
from serving.engine.trial import NoGrammarError, NotInTimeError, Trial

COSTLY = json.dumps(
    {"properties": {f"k{most}": {"type": "string", "maxLength": most} for most in range(60, 260, 20)}}
)
CHEAP = json.dumps({"type": "object", "properties": {"name": {"type": "string", "maxLength": 3}}})


@pytest.fixture(scope="module")
def vocabulary(converted_models: Path) -> str:
    tokenizer = AutoTokenizer.from_pretrained(str(converted_models / "smollm2"))
    return str(xgrammar.TokenizerInfo.from_huggingface(tokenizer).serialize_json())


@pytest.fixture
def trial(vocabulary: str) -> Iterator[Trial]:
    with closing(Trial(vocabulary, seconds=3.0)) as one:
        yield one


def test_what_takes_too_long_ends_its_process_and_nothing_else(trial: Trial) -> None:
    trial.check("compile_json_schema", (CHEAP,), {})  # begins the process
    began = time.monotonic()
    with pytest.raises(NotInTimeError):
        trial.check("compile_json_schema", (COSTLY,), {})
    assert time.monotonic() - began < 20
    trial.check("compile_json_schema", (CHEAP,), {"any_whitespace": False})


def test_what_is_no_grammar_is_told_apart(trial: Trial) -> None:
    with pytest.raises(NoGrammarError):
        trial.check("compile_grammar", ("root ::= (",), {})
    trial.check("compile_grammar", ('root ::= "a"',), {})


@pytest.mark.parametrize(
    ("text", "small"),
    [
        (json.dumps({"type": "object", "properties": {"a": {"type": "string"}}}), True),
        (CHEAP, False),
        (json.dumps({"const": "x" * 5000}), False),
        ("[a-z]{1,200}", False),
        ("root ::= [a-z]*", False),
        ('root ::= "yes" | "no"', True),
    ],
)
def test_what_is_small_needs_no_trial(text: str, small: bool) -> None:
    assert is_small((text,)) is small


class _Counting:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def check(self, method: str, arguments: tuple[Any, ...], options: Any) -> None:
        self.asked.append(arguments[0])

    def compile_json_schema(self, text: str, **options: Any) -> str:
        return f"compiled {text}"


def test_a_grammar_that_has_passed_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "MOST_PROVEN", 2)
    counting = _Counting()
    compiler = BoundedCompiler(counting, counting)  # type: ignore[arg-type]
    for length in (1, 1, 2, 1, 3, 1, 2):
        compiler.compile_json_schema(f'{{"maxLength": {length}}}')
    assert [int(text[-2]) for text in counting.asked] == [1, 2, 3, 2]
    assert compiler.compile_json_schema("{}") == "compiled {}"
    assert len(counting.asked) == 4


def test_who_had_fewer_turns_is_next() -> None:
    turns, order, opened = Turns(), [], threading.Event()

    def take(tenant: str) -> None:
        with turns.taken(tenant):
            opened.wait(10)
            order.append(tenant)

    threads = []
    for tenant in ("first", "flood", "flood", "flood", "other"):
        threads.append(threading.Thread(target=take, args=(tenant,)))
        threads[-1].start()
        time.sleep(0.05)
    opened.set()
    for thread in threads:
        thread.join(10)
    assert order == ["first", "flood", "other", "flood", "flood"]
    assert tenant_of_this_request.get() == ""
