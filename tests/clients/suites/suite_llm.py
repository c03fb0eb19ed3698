"""The command ``llm``, with the API as one of its OpenAI-compatible models."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

MODELS = """
- model_id: small
  model_name: smollm2
  api_base: "{base}"
  api_key_name: appliance
  supports_schema: true
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("llm")
    (home / "extra-openai-models.yaml").write_text(MODELS.format(base=os.environ["OPENAI_BASE_URL"]))
    ask(home, "keys", "set", "appliance", "--value", os.environ["OPENAI_API_KEY"])
    return home


def ask(home: Path, *arguments: str) -> str:
    command = [str(Path(sys.executable).with_name("llm")), *arguments]
    env = os.environ | {"LLM_USER_PATH": str(home)}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.parametrize("how", [[], ["--no-stream"]])
def test_a_question(home: Path, how: list[str]) -> None:
    assert "Paris" in ask(home, "-m", "small", *how, "-o", "temperature", "0", "What is the capital of France?")


def test_a_schema(home: Path) -> None:
    options = ["-o", "max_tokens", "200", "-o", "temperature", "0"]
    assert '"age"' in ask(home, "-m", "small", "--schema", "name, age int", *options, "A dog of 3 years, Rex.")
