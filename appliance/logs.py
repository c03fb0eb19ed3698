"""Logs without content: an exception is its type and where it happened, never its message.

A message may quote what failed to parse, which is a customer's. What an operator needs is said by the log call.
What matters to security is an event: one line of ``key=value`` (docs/security.md lists them).
"""

import json
import logging
import re
import sys
import time
import traceback
from types import TracebackType

OURS = ("appliance", "billing", "serving")
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


_PLAIN = re.compile(r"[\w.:/{}+-]+", re.ASCII)
_events = logging.getLogger("appliance.events")
BY_A_STRANGER = "by_a_stranger"
"""Of a record in the log: nobody who is signed in has caused it."""
STRANGERS_EVENTS_A_MINUTE = 60


def note(event: str, *, bad: bool = False, **facts: str | int | None) -> None:
    """An event of security, a warning if it is ``bad``. ``facts`` have nobody's name, email or whole address."""
    line = " ".join(f"{name}={_value(fact)}" for name, fact in {"event": event, **facts}.items())
    by_a_stranger = facts.get("account") is None
    _events.log(logging.WARNING if bad else logging.INFO, "%s", line, extra={BY_A_STRANGER: by_a_stranger})


def _value(fact: str | int | None) -> str:
    """What is not of plain letters is quoted as JSON does: no fact ends its line or looks like two."""
    text = "-" if fact is None else str(fact)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


class Sparing(logging.Filter):
    """Of events that nobody signed in has caused, so many a minute are written, and then how many were left out:
    else whoever sends forms without end would push all else out of the log.
    """

    def __init__(self, most_a_minute: int = STRANGERS_EVENTS_A_MINUTE) -> None:
        super().__init__()
        self._most = most_a_minute
        self._minute = self._seen = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if not getattr(record, BY_A_STRANGER, False):
            return True
        minute, left_out = int(record.created // 60), 0
        if minute != self._minute:
            self._minute, left_out, self._seen = minute, max(0, self._seen - self._most), 0
        self._seen += 1
        if left_out:
            record.msg, record.args = f"{record.getMessage()} left_out_before={left_out}", ()
        return self._seen <= self._most


class ContentFreeFormatter(logging.Formatter):
    """A library's own text is withheld too: asyncio, for one, writes exceptions into it. Times are UTC."""

    converter = time.gmtime  # type: ignore[assignment]  # what logging itself advises
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- logging's name
        if record.name.partition(".")[0] not in OURS:
            record.message = f"text withheld, logged at {record.filename}:{record.lineno}"
        return super().formatMessage(record)

    def formatException(  # noqa: N802 -- logging's name
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        kind, error, _ = ei
        if kind is None or error is None:
            return ""
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
        name = f"{kind.__module__}.{kind.__qualname__}"
        return "\n".join([*lines, f"  {name} (its message is not logged: it may quote a customer)"])


def configure(level: int = logging.INFO) -> None:
    """For a whole process: one handler to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(ContentFreeFormatter(FORMAT))
    handler.addFilter(Sparing())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    for noisy in ("asyncio", "aiohttp", "alembic", "httpx", "stripe", "uvicorn", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
        logging.getLogger(noisy).propagate = True
        logging.getLogger(noisy).handlers.clear()
