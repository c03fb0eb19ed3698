"""Models made ready for the engine, each by a process of its own, so that its memory is given back."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from serving.catalog.models import Model
from serving.weights.prepare import PrepareError, ready_directory

AGAIN_SECONDS = 60.0


@dataclass
class _Job:
    task: asyncio.Task[None] | None = None
    message: str = ""
    failed: bool = False


async def on_this_node(source: str, model_id: str, models_directory: Path) -> Path:
    """Where the model's files are, for a replica on a node that may not have them yet. Raises PrepareError."""
    directory = ready_directory(source, model_id, models_directory)
    if directory is not None:
        return directory
    process = await _begin(source, model_id, models_directory)
    try:
        output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        raise PrepareError(_last_line(errors) or f"{model_id}: the preparation was killed")
    return Path(output.decode().splitlines()[-1])


async def _begin(source: str, model_id: str, models_directory: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "serving.weights.prepare", source, model_id, str(models_directory),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


class Preparing:
    """``models_directory`` is where converted and downloaded models are kept."""

    def __init__(self, models_directory: Path) -> None:
        self._models_directory = models_directory
        self._jobs: dict[str, _Job] = {}

    def directories(self, models: Sequence[Model]) -> dict[str, Path] | None:
        """Each model's directory by id; None until all are there, which this works on."""
        found = {model.id: directory for model in models if (directory := self._directory(model)) is not None}
        return found if len(found) == len(models) else None

    def progress(self, models: Sequence[Model]) -> tuple[str, bool]:
        """What is done for the first that is not there, and whether it failed (it is tried again later)."""
        for model in models:
            job = self._jobs.get(_key(model))
            if job is not None and job.message:
                return job.message, job.failed
        return "", False

    def cancel(self) -> None:
        for job in self._jobs.values():
            if job.task is not None:
                job.task.cancel()

    def _directory(self, model: Model) -> Path | None:
        job = self._jobs.setdefault(_key(model), _Job())
        if job.task is not None and not job.task.done():
            return None
        try:
            directory = ready_directory(model.source, model.id, self._models_directory)
        except PrepareError as error:
            job.message, job.failed = str(error), True
            return None
        if directory is not None:
            job.message, job.failed = "", False
        elif not job.failed:
            job.task = asyncio.create_task(self._prepare(model, job))
        return directory

    async def _prepare(self, model: Model, job: _Job) -> None:
        job.message = "preparing"
        process = await _begin(model.source, model.id, self._models_directory)
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            errors = asyncio.create_task(process.stderr.read())
            async for line in process.stdout:
                job.message = line.decode(errors="replace").strip()
            if await process.wait() == 0:
                job.message = ""
                return
            job.message, job.failed = _last_line(await errors) or "the preparation was killed", True
        finally:
            if process.returncode is None:
                process.kill()
        await asyncio.sleep(AGAIN_SECONDS)
        job.failed = False


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _key(model: Model) -> str:
    return f"{model.id} {model.source}"
