"""Zero retention in an engine's processes: from the first request on, no log line carries text from a request.

An exception's message, a log record's arguments and a warning may all quote a prompt. What remains of each is
where it happened and which exception it was. Before the first request, everything is logged in full, so that
an operator can read why a model does not start.
"""

from __future__ import annotations

import logging
import resource
import sys
import threading
import traceback
from pathlib import PurePath
from types import TracebackType
from typing import Any

OURS = "serving"
logger = logging.getLogger(__name__)


def no_core_files() -> None:
    """For this process and its children: a core file holds whatever the memory held."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def begin() -> None:
    """From now on, and for every logger in this process."""
    factory = logging.getLogRecordFactory()

    def silent(*arguments: Any, **options: Any) -> logging.LogRecord:
        record = factory(*arguments, **options)
        if record.name.partition(".")[0] != OURS:
            error = record.exc_info[1] if record.exc_info else None
            record.msg = f"text withheld, logged at {record.filename}:{record.lineno}{_told(error)}"
            record.args = ()
            record.exc_info = record.exc_text = record.stack_info = None
        return record

    logging.setLogRecordFactory(silent)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    sys.unraisablehook = lambda unraisable: _report(unraisable.exc_value)
    threading.excepthook = lambda arguments: _report(arguments.exc_value)


def describe(error: BaseException) -> str:
    """The exception's type and the innermost places it came through; never its message."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    places = " < ".join(f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__} ({places})" if places else type(error).__name__


def _told(error: BaseException | None) -> str:
    return "" if error is None else f": {describe(error)}"


def _uncaught(_: type[BaseException], error: BaseException, __: TracebackType | None) -> None:
    _report(error)


def _report(error: BaseException | None) -> None:
    logger.error("uncaught%s", _told(error))
