"""Compiles grammars on trial, in a process of its own that the kernel ends when the time is over.

xgrammar cannot be called off. ``Trial`` is the engine's side, ``main`` the other process: it holds the tokenizer's
vocabulary, reads one grammar at a time, and says whether it compiles. Nothing of a grammar is kept or written.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

TRIAL_SECONDS = 5.0
MOST_MEMORY_BYTES = 4 << 30
"""Beyond what the process has when it begins."""
COMPILES, FAILS = b"y", b"n"
LENGTH = struct.Struct("!Q")
HERE = Path(__file__).resolve().parent.parent.parent


class NotInTimeError(Exception):
    """The grammar takes too long to compile, or too much memory."""


class NoGrammarError(Exception):
    """The grammar cannot be compiled."""


class Trial:
    """One process, begun with the first grammar and again after each that ended it. For one thread at a time."""

    def __init__(self, vocabulary: str, seconds: float = TRIAL_SECONDS) -> None:
        """``vocabulary`` is xgrammar's TokenizerInfo as JSON; ``seconds`` are for each grammar."""
        self._vocabulary = vocabulary.encode()
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None

    def check(self, method: str, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> None:
        """By this method of xgrammar's GrammarCompiler.

        Raises:
            NotInTimeError, NoGrammarError
        """
        process = self._process = self._process or self._begin()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            _write(process.stdin, pickle.dumps((self._seconds, method, arguments, dict(options))))
            verdict = process.stdout.read(1)
        except BrokenPipeError:
            verdict = b""
        if verdict == FAILS:
            raise NoGrammarError
        if verdict != COMPILES:
            self.close()
            raise NotInTimeError

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _begin(self) -> subprocess.Popen[bytes]:
        """Its own time to begin is not the grammar's."""
        path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
        process = subprocess.Popen(
            [sys.executable, "-m", "serving.engine.trial"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": path},
        )  # fmt: skip
        assert process.stdin is not None
        _write(process.stdin, self._vocabulary)
        return process


def main() -> None:
    """Until the engine closes the pipe, or a grammar takes too long."""
    questions = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)  # xgrammar warns of what it read
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    compiler = _compiler(_read(questions))
    _limit_memory()
    while question := _read(questions):
        seconds, method, arguments, options = pickle.loads(question)  # noqa: S301 - the engine wrote it
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            getattr(compiler, method)(*arguments, **options)
            verdict = COMPILES
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - whatever xgrammar raises
            verdict = FAILS
        signal.setitimer(signal.ITIMER_REAL, 0)
        answers.write(verdict)
        answers.flush()


def _compiler(vocabulary: bytes) -> Any:
    import xgrammar

    information = xgrammar.TokenizerInfo.deserialize_json(vocabulary.decode())
    return xgrammar.GrammarCompiler(information, max_threads=1, cache_enabled=False)


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MOST_MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _write(pipe: Any, frame: bytes) -> None:
    pipe.write(LENGTH.pack(len(frame)) + frame)
    pipe.flush()


def _read(pipe: BinaryIO) -> bytes:
    """Empty at the end."""
    head = pipe.read(LENGTH.size)
    return pipe.read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else b""


if __name__ == "__main__":
    main()
