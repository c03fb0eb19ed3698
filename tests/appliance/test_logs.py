"""A log says where something went wrong, and never what it was about."""

import asyncio
import gc
import io
import logging

import pytest

from appliance.logs import FORMAT, ContentFreeFormatter, Sparing, note


def test_an_exceptions_message_is_not_logged_but_its_place_is() -> None:
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.setFormatter(ContentFreeFormatter(FORMAT))
    logger = logging.getLogger("appliance.test")
    logger.addHandler(handler)
    try:
        try:
            int("a customer's secret")
        except ValueError as error:
            raise RuntimeError("about a customer's secret") from error
    except RuntimeError:
        logger.exception("request %s failed", 7)
    finally:
        logger.removeHandler(handler)
    text = output.getvalue()
    assert "secret" not in text
    assert "request 7 failed" in text
    assert "RuntimeError" in text
    assert "test_logs.py" in text


def test_an_event_is_one_line_of_pairs_whatever_is_in_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    note("page", path="/a/{b}", status=404, account=None, network="2001:db8::/48", odd='x\nevent=forged y="1"')
    (line,) = caplog.messages
    assert line == (
        r'event=page path=/a/{b} status=404 account=- network=2001:db8::/48 odd="x\nevent=forged y=\"1\""'
    )
    assert caplog.records[0].levelno == logging.INFO


def test_strangers_who_cause_events_without_end_push_nothing_else_out_of_the_log() -> None:
    sparing = Sparing(most_a_minute=3)

    def written(second: float, line: str, *, by_a_stranger: bool = True) -> str | None:
        record = logging.LogRecord("appliance.events", logging.WARNING, "x", 1, "%s", (line,), None)
        record.created, record.by_a_stranger = second, by_a_stranger
        return record.getMessage() if sparing.filter(record) else None

    line = "event=form-refused network=192.0.2.0/24"
    assert [written(60, line) for _ in range(9)] == [line] * 3 + [None] * 6
    assert written(61, line, by_a_stranger=False) == line
    assert written(119, line) is None
    assert written(120, line) == f"{line} left_out_before=7"
    assert written(121, line) == line


def test_what_somebody_signed_in_does_is_never_left_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for account in (7, None):
        note("page", account=account)
    sparing = Sparing(most_a_minute=0)
    assert [sparing.filter(record) for record in caplog.records] == [True, False]


async def test_what_a_library_writes_of_an_exception_is_withheld() -> None:
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.setFormatter(ContentFreeFormatter(FORMAT))
    logger = logging.getLogger("asyncio")
    logger.addHandler(handler)

    async def fail() -> None:
        raise ValueError("a customer's secret")

    try:
        task = asyncio.create_task(fail())
        await asyncio.sleep(0)
        del task
        gc.collect()
    finally:
        logger.removeHandler(handler)
    assert "secret" not in output.getvalue()
    assert "ValueError" in output.getvalue()
