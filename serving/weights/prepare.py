"""A model's source made ready for the engine: a directory of safetensors with tokenizer and chat template.

A GGUF file inside an installed package is converted once; a directory, inside a package too, is used as it is.
Run as ``python -m serving.weights.prepare SOURCE MODEL_ID MODELS_DIRECTORY`` it prints what it does, then
the directory.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from serving.weights import hub

CONFIGS = ("config.json", "adapter_config.json")
"""Of a model, of an adapter (LoRA)."""
Progress = Callable[[str], None]


class PrepareError(Exception):
    """The source cannot be used; the message says why and what to do."""


def ready_directory(source: str, model_id: str, models_directory: Path) -> Path | None:
    """Where the engine finds the model, or None if it has to be converted first. Raises PrepareError."""
    kind, _, rest = source.partition(":")
    if kind == "hub":
        directory = hub_directory(source, model_id, models_directory)
        return directory if hub.recorded(directory, source) else None
    directory = Path(rest) if kind == "directory" else _packaged(source, model_id)
    if directory.is_dir():
        if not any((directory / name).is_file() for name in CONFIGS):
            raise PrepareError(f"{model_id}: {directory} holds neither {' nor '.join(CONFIGS)}")
        return directory
    if kind == "directory":
        raise PrepareError(f"{model_id}: there is no directory {directory}")
    directory = models_directory / model_id
    return directory if _recorded_source(directory) == source else None


def prepare(source: str, model_id: str, models_directory: Path, progress: Progress) -> Path:
    """The directory for the engine, converted now if it has not been. Raises PrepareError.

    Half a conversion is never seen: it happens in a temporary directory that is renamed at the end.
    """
    ready = ready_directory(source, model_id, models_directory)
    if ready is not None:
        return ready
    with _alone(models_directory / f".{model_id}.lock"):
        ready = ready_directory(source, model_id, models_directory)
        return ready or _prepare(source, model_id, models_directory, progress)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Two replicas of a model may come to a new node at once; the second waits for what the first prepares."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _prepare(source: str, model_id: str, models_directory: Path, progress: Progress) -> Path:
    if source.startswith("hub:"):
        target = hub_directory(source, model_id, models_directory)
        try:
            hub.download(source, target, progress)
        except hub.HubError as error:
            raise PrepareError(f"{model_id}: {error}") from None
        return target
    file = _packaged(source, model_id)
    target = models_directory / model_id
    with tempfile.TemporaryDirectory(prefix=f".{model_id}-", dir=models_directory) as work:
        converted = Path(work) / "converted"
        _convert(file, converted, progress)
        (converted / "SOURCE").write_text(source)
        if target.exists():
            shutil.rmtree(target)
        converted.rename(target)
    return target


def hub_directory(source: str, model_id: str, models_directory: Path) -> Path:
    """Each revision has its own: the running version's files stay where they are."""
    return models_directory / f"{model_id}-{hashlib.sha256(source.encode()).hexdigest()[:8]}"


def _recorded_source(directory: Path) -> str | None:
    try:
        return (directory / "SOURCE").read_text()
    except FileNotFoundError:
        return None


def _packaged(source: str, model_id: str) -> Path:
    package, _, name = source.removeprefix("package:").partition("/")
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise PrepareError(f"{model_id}: the Python package {package} is not installed")
    file = Path(spec.origin).parent / name
    if not file.exists():
        raise PrepareError(f"{model_id}: the Python package {package} holds no {name}")
    return file


def _convert(file: Path, target: Path, progress: Progress) -> None:
    progress("loading the converter")
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
    from transformers.utils import logging
    from transformers.utils.quantization_config import GgufConfig

    logging.disable_progress_bar()
    progress("converting the weights")
    model = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    )
    progress("converting the tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    if not tokenizer.chat_template:
        raise PrepareError(f"{file.name} holds no chat template")
    progress("writing")
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def main(arguments: list[str]) -> int:
    """Exit status 1 and one line on stderr if the source cannot be used."""
    source, model_id, models_directory = arguments
    try:
        directory = prepare(source, model_id, Path(models_directory), lambda step: print(step, flush=True))  # noqa: T201 -- a program
    except PrepareError as error:
        print(error, file=sys.stderr)  # noqa: T201 -- a program
        return 1
    print(directory)  # noqa: T201 -- a program
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
