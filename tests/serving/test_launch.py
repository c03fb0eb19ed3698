from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from serving.catalog.models import EngineArg, Model, Rates
from serving.engine.launch import environment, flags

MODEL = Model(
    "m", "directory:/m", 4096, Rates(1, 1, 1), gpus=0, kv_cache_gib=3,
    engine_args={"max_num_seqs": 8, "async_scheduling": False},
)  # fmt: skip
DIRECTORIES = {"m": Path("/m")}
CACHE = Path("/home/cache")


def test_what_the_operator_writes_becomes_the_command_line() -> None:
    line = flags(MODEL, DIRECTORIES, gpus=0)
    assert line[line.index("--max-num-seqs") + 1] == "8"
    assert "--no-async-scheduling" in line
    assert "--enforce-eager" in line
    assert line[line.index("--scheduling-policy") + 1] == "priority"
    assert line[line.index("--max-model-len") + 1] == "4096"


def test_grammars_are_compiled_by_xgrammar_unless_the_operator_says_otherwise() -> None:
    def backend(**given: EngineArg) -> object:
        line = flags(dataclasses.replace(MODEL, engine_args=given), DIRECTORIES, gpus=0)
        return json.loads(line[line.index("--structured-outputs-config") + 1])

    assert backend() == {"backend": "xgrammar"}
    assert backend(structured_outputs_config={"reasoning_parser": "x"}) == {
        "backend": "xgrammar", "reasoning_parser": "x",
    }  # fmt: skip
    assert backend(structured_outputs_config={"backend": "guidance"}) == {"backend": "guidance"}


def test_gpus_split_one_replica() -> None:
    line = flags(MODEL, DIRECTORIES, gpus=2)
    assert line[line.index("--tensor-parallel-size") + 1] == "2"
    assert "--enforce-eager" not in line
    assert "VLLM_CPU_KVCACHE_SPACE" not in environment(MODEL, 2, CACHE)


def test_no_telemetry_and_no_content_in_logs() -> None:
    for gpus in (0, 1):
        variables = environment(MODEL, gpus, CACHE)
        assert variables["VLLM_NO_USAGE_STATS"] == "1"
        assert variables["VLLM_DEBUG_LOG_API_SERVER_RESPONSE"] == "0"
        assert variables["VLLM_ENABLE_RESPONSES_API_STORE"] == "0"
        assert not any(flag.startswith("--enable-log") for flag in flags(MODEL, DIRECTORIES, gpus))
    assert environment(MODEL, 0, CACHE)["VLLM_CPU_KVCACHE_SPACE"] == "3"


def test_answers_do_not_depend_on_what_the_processor_can_multiply() -> None:
    def dtype(**given: EngineArg) -> str:
        line = flags(dataclasses.replace(MODEL, engine_args=given), DIRECTORIES, gpus=0)
        return line[line.index("--dtype") + 1]

    assert dtype() == "float32"
    assert dtype(dtype="bfloat16") == "bfloat16"
    assert "--dtype" not in flags(MODEL, DIRECTORIES, gpus=1)


def test_on_few_cores_a_waiting_thread_of_the_engine_leaves_its_core_to_the_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def variables(cores: int, gpus: int = 0) -> dict[str, str]:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
        return environment(MODEL, gpus, CACHE)

    assert variables(2)["GOMP_SPINCOUNT"] == "1000"
    assert variables(2)["OMP_NUM_THREADS"] == "2"
    assert "GOMP_SPINCOUNT" not in variables(64)
    assert "GOMP_SPINCOUNT" not in variables(2, gpus=1)


def test_what_is_compiled_is_kept_in_the_home() -> None:
    variables = environment(MODEL, 1, CACHE)
    assert {name for name, value in variables.items() if value.startswith("/home/cache")} == {
        "VLLM_CACHE_ROOT", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH", "FLASHINFER_WORKSPACE_BASE",
    }  # fmt: skip
