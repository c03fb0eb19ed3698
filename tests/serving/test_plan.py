"""What an operator is told before anything changes: the changes, and whether the GPUs carry them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from serving.catalog.models import Model, Rates, Replicas
from serving.catalog.partners import Partner
from serving.placement.fit import GIB, Shape, fit_on, has_room, shape_of, token_bytes
from serving.placement.gpus import parse_gpus
from serving.placement.plan import changes, memory_problems, place

MODEL = Model("m", "directory:/m", 8192, Rates(1, 1, 1))
HEADS = {"num_attention_heads": 32, "hidden_size": 4096}
EIGHT_BILLION = Shape(weights_bytes=16 * GIB, token_bytes=2 * 32 * 8 * 128 * 2)


def _nodes(*counts: int, gib: int = 80) -> list[dict[str, Any]]:
    gpu = {"name": "H100", "memory_bytes": gib * GIB}
    return [{"id": f"n{n}", "address": f"node-{n}", "gpus": [gpu] * count} for n, count in enumerate(counts)]


def test_every_kind_of_change_is_named() -> None:
    other = dataclasses.replace(MODEL, id="other")
    adapter = dataclasses.replace(MODEL, id="lora", base="m")
    after = [dataclasses.replace(MODEL, engine_args={"max_num_seqs": 8}, queue_limit=9), other]
    assert [(change.model, change.kind) for change in changes([MODEL], after)] == [
        ("m", "replace"),
        ("other", "add"),
    ]
    assert changes([MODEL], after)[0].details == (
        "queue_limit: 256 -> 9",
        "engine_args.max_num_seqs: default -> 8",
    )
    assert changes([MODEL, other], [other])[-1].kind == "remove"
    assert changes([MODEL], [dataclasses.replace(MODEL, replicas=Replicas(2, 2))])[0].kind == "scale"
    assert changes([MODEL], [dataclasses.replace(MODEL, rates=Rates(2, 2, 2))])[0].kind == "keep"
    assert [change.kind for change in changes([MODEL], [MODEL, adapter])] == ["replace", "add"]


def test_what_differs_of_a_partner_is_named() -> None:
    partner = Partner("p", "https://p", "P_KEY")
    before = dataclasses.replace(MODEL, partner=partner)
    after = dataclasses.replace(MODEL, partner=msgspec.structs.replace(partner, first_seconds=30.0))
    assert changes([before], [after])[0].details == ("partner.first_seconds: 60.0 -> 30.0",)


def test_weights_cache_and_context_on_a_gpu() -> None:
    fit = fit_on(MODEL, EIGHT_BILLION, 1, 80 * GIB)
    assert fit.fits
    assert fit.weights_bytes == 16 * GIB
    assert 400_000 < fit.cache_tokens < 450_000  # (72 - 16 - 1.5) GiB of 128 KiB
    assert not fit_on(MODEL, EIGHT_BILLION, 1, 16 * GIB).fits
    assert fit_on(MODEL, EIGHT_BILLION, 2, 16 * GIB).fits
    assert fit_on(dataclasses.replace(MODEL, context_length=1 << 20), EIGHT_BILLION, 1, 80 * GIB).short_bytes > 0


@pytest.mark.parametrize(
    ("config", "size"),
    [
        (HEADS | {"num_hidden_layers": 32, "num_key_value_heads": 8}, 2 * 32 * 8 * 128 * 2),
        (HEADS | {"num_hidden_layers": 2, "head_dim": 32}, 2 * 2 * 32 * 32 * 2),
        (HEADS | {"num_hidden_layers": 61, "kv_lora_rank": 512, "qk_rope_head_dim": 64}, 61 * 576 * 2),
    ],
)  # fmt: skip
def test_a_token_in_the_cache(config: dict[str, int], size: int) -> None:
    assert token_bytes(config, {}) == size
    assert token_bytes(config, {"kv_cache_dtype": "fp8"}) == size // 2


def test_replicas_are_placed_until_there_is_no_room() -> None:
    two = dataclasses.replace(MODEL, id="two", replicas=Replicas(2, 2))
    big = dataclasses.replace(MODEL, id="big", engine_args={"tensor_parallel_size": 4})
    found = place([(two, EIGHT_BILLION, 1), (big, EIGHT_BILLION, 4)], _nodes(4, 2))
    assert found.problems == []
    assert [gpu.replicas[0].model for gpu in found.gpus] == ["big"] * 4 + ["two"] * 2
    found = place([(two, EIGHT_BILLION, 1), (big, EIGHT_BILLION, 4)], _nodes(3, 3))
    assert found.problems == ["big: no room for 1 of 1 replicas of 4 GPUs"]
    small = dataclasses.replace(MODEL, id="small", replicas=Replicas(3, 3))
    found = place([(small, EIGHT_BILLION, 0.5)], _nodes(1))
    assert found.problems == ["small: no room for 1 of 3 replicas of 0.5 GPUs"]
    assert "GiB are missing" in place([(two, EIGHT_BILLION, 1)], _nodes(2, gib=16)).problems[0]


def test_room_for_new_replicas_beside_the_old_ones() -> None:
    nodes = _nodes(2, 2)
    assert has_room(nodes, [("n0", 1), ("n1", 1)], 1, 2)
    assert not has_room(nodes, [("n0", 1), ("n1", 1)], 2, 1)
    assert not has_room(nodes, [("n0", 0.5)] * 8, 0.5, 1)
    assert has_room(nodes, [("n0", 0.5)] * 3, 0.5, 1)


def test_memory_without_a_gpu() -> None:
    assert memory_problems([(MODEL, Shape(GIB, 1), 0)], 4 * GIB) == []
    assert "need 6.4 GiB" in memory_problems([(MODEL, Shape(GIB, 1), 0)] * 2, 4 * GIB)[0]


def test_a_model_is_measured_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"x" * 10)
    (tmp_path / "b.safetensors").write_bytes(b"x" * 5)
    text = {"num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 8}
    (tmp_path / "config.json").write_text(json.dumps({"text_config": text}))
    assert shape_of(MODEL, tmp_path) == Shape(15, 32)


def test_what_the_tool_of_nvidia_prints() -> None:
    assert parse_gpus("NVIDIA H100 80GB HBM3, 81559\n\n") == [
        {"name": "NVIDIA H100 80GB HBM3", "memory_bytes": 81559 << 20}
    ]
    assert parse_gpus("No devices were found\n") == []
