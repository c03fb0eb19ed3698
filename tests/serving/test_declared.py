"""What is declared, and since when."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from serving.catalog.declared import Declared, declare
from serving.catalog.models import Model, parse_models

RATES = {"input": "1", "cached_input": "1", "output": "1"}


def models(*names: str, context_length: int = 64) -> tuple[Model, ...]:
    about = {"context_length": context_length, "rates": RATES}
    return parse_models({"models": [{"id": name, "source": f"directory:/{name}", **about} for name in names]})


def test_a_model_is_as_old_as_its_first_declaration(tmp_path: Path) -> None:
    file = tmp_path / "run/models.json"
    declare(file, models("a"), lambda: 100.9)
    declare(file, models("b", "a", context_length=32), lambda: 200)
    declared = Declared(file)
    assert list(declared.models()) == ["b", "a"]
    assert (declared.since("a"), declared.since("b")) == (100, 200)
    declare(file, models("b"), lambda: 300)
    declare(file, models("a", "b"), lambda: 400)
    assert Declared(file).models().keys() == {"a", "b"}
    declared.models()
    assert (declared.since("a"), declared.since("b")) == (100, 200)


def test_a_file_of_a_version_that_kept_no_time_is_as_old_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "models.json"
    file.write_bytes(msgspec.json.encode(models("a")))
    os.utime(file, (500, 500))
    declared = Declared(file)
    assert list(declared.models()) == ["a"]
    assert declared.since("a") == 500
    declare(file, models("a", "b"), lambda: 600)
    declared.models()
    assert (declared.since("a"), declared.since("b")) == (500, 600)


def test_a_damaged_file_does_not_keep_the_next_one_from_being_written(tmp_path: Path) -> None:
    file = tmp_path / "models.json"
    file.write_text("{")
    declare(file, models("a"), lambda: 700)
    declared = Declared(file)
    assert list(declared.models()) == ["a"]
    assert declared.since("a") == 700
