"""Ray may never return from a call; what is published may not stand still for that."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

import pytest

from serving.control.patience import Patience


async def test_a_call_returns_what_it_does() -> None:
    patience = Patience()
    assert await patience.call(lambda: 7, 5) == 7
    with pytest.raises(ZeroDivisionError):
        await patience.call(lambda: 1 // 0, 5)
    assert patience.stuck == 0


async def test_a_call_that_does_not_return_is_given_up_and_counted_until_it_does() -> None:
    patience, end = Patience(), threading.Event()
    with pytest.raises(TimeoutError):
        await patience.call(end.wait, 0.01)
    assert await patience.call(lambda: 7, 5) == 7
    assert patience.stuck == 1
    end.set()
    while patience.stuck:
        await asyncio.sleep(0.01)


ENDS = """
import asyncio, time
from serving.control.patience import Patience
async def main():
    try:
        await Patience().call(lambda: time.sleep(600), 0.01)
    except TimeoutError:
        return 3
raise SystemExit(asyncio.run(main()))
"""


def test_a_process_ends_though_a_call_does_not() -> None:
    began = time.monotonic()
    assert subprocess.run([sys.executable, "-c", ENDS], timeout=60, check=False).returncode == 3
    assert time.monotonic() - began < 30
