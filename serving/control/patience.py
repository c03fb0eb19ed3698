"""Calls that block, none of which is waited for longer than it may take."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")


class Patience:
    """To be used in one event loop. The end of the process does not wait for a call that never returns."""

    def __init__(self) -> None:
        self._given_up: set[asyncio.Future[Any]] = set()

    @property
    def stuck(self) -> int:
        """How many calls took longer than they may and have not returned yet; each keeps a thread."""
        return len(self._given_up)

    async def call(self, work: Callable[[], Result], seconds: float) -> Result:
        """What ``work`` returns or raises, in a thread of its own. Raises TimeoutError after ``seconds``."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Result] = loop.create_future()
        threading.Thread(target=_answer, args=(work, answer, loop), daemon=True, name="ray").start()
        done, _ = await asyncio.wait([answer], timeout=seconds)
        if done:
            return answer.result()
        self._given_up.add(answer)
        answer.add_done_callback(self._returned)
        raise TimeoutError

    def _returned(self, answer: asyncio.Future[Any]) -> None:
        self._given_up.discard(answer)
        if not answer.cancelled():
            answer.exception()


def _answer(work: Callable[[], Result], answer: asyncio.Future[Result], loop: asyncio.AbstractEventLoop) -> None:
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001
        _tell(loop, answer.set_exception, error)
    else:
        _tell(loop, answer.set_result, result)


def _tell(loop: asyncio.AbstractEventLoop, say: Callable[[Any], None], what: Any) -> None:
    try:
        loop.call_soon_threadsafe(say, what)
    except RuntimeError:
        return  # the loop is closed: nobody asks any more
