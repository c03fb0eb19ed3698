from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.catalog.models import Model, ModelsError, Rates, parse_models

ENTRY: dict[str, Any] = {
    "id": "m",
    "source": "directory:/models/m",
    "context_length": 4096,
    "rates": {"input": "0.10", "cached_input": "0.02", "output": "0.40"},
}


def _parse(**changes: Any) -> Model:
    return parse_models({"models": [{**ENTRY, **changes}]})[0]


def test_rates_are_exact() -> None:
    assert _parse().rates == Rates(input=100_000, cached_input=20_000, output=400_000)
    assert _parse(rates={**ENTRY["rates"], "input": "0.000001"}).rates.input == 1


def test_the_file_that_is_shipped_is_valid() -> None:
    file = Path(__file__).resolve().parents[2] / "configs/models.yaml"
    model, _ = parse_models(yaml.safe_load(file.read_text()))
    assert (model.id, model.gpus, model.context_length) == ("smollm2", "auto", 2048)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"context_length": "x"}, r"models\[0\] \(m\): context_length: expected `int`"),
        ({"rates": {"input": "0.1", "output": "1"}}, r"models\[0\] \(m\): .*rates.*cached_input"),
        ({"rates": {**ENTRY["rates"], "output": 0.4}}, r"rates\.output: expected `str`"),
        ({"rates": {**ENTRY["rates"], "output": "-1"}}, r"rates\.output: expected dollars"),
        ({"rates": {**ENTRY["rates"], "output": "0.0000001"}}, r"at most six decimals"),
        ({"source": "somewhere"}, r"source"),
        ({"gpu": 1}, r"unknown field `gpu`"),
        ({"engine_args": {"enable_log_requests": True}}, r"engine_args.enable_log_requests"),
        ({"engine_args": {"--x": True}}, r"engine_args.--x"),
        ({"engine_args": {"structured_outputs_config": "{}"}}, r"structured_outputs_config: expected a mapping"),
        ({"id": "a/b"}, r"models\[0\] \(a/b\): id"),
    ],
)
def test_an_error_names_entry_and_field(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelsError, match=message):
        _parse(**changes)


def test_an_id_names_one_model() -> None:
    with pytest.raises(ModelsError, match="twice"):
        parse_models({"models": [ENTRY, ENTRY]})
    with pytest.raises(ModelsError, match="at least one"):
        parse_models({"models": []})
