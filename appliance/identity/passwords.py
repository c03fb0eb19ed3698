"""Passwords: hashed by Argon2id, a few at a time, off the event loop. Strangers wait for each other alone."""

import asyncio
import math
import re
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from unicodedata import normalize

from pwdlib import PasswordHash
from pwdlib.exceptions import PwdlibError
from pwdlib.hashers.argon2 import Argon2Hasher

from appliance.identity.errors import TooManyTries, WeakPassword

FEWEST_CHARACTERS, MOST_CHARACTERS = 10, 256
LEAST_GUESSES = 10**8
"""What zxcvbn reckons somebody needs who knows how people choose: its "safely unguessable" online."""
READ_CHARACTERS = 72
"""As many does zxcvbn judge: its time grows with the square."""
_NO_TEXT = re.compile("[\ud800-\udfff]")
"""Halves of characters, which JSON can spell."""
_BETWEEN_WORDS = re.compile(r"[\W_]+")
CONTEXT_WORDS = ("appliance", "password", "passord", "login", "account", "konto", "credit", "kreditt", "api key")
"""Besides the names of the service."""
AT_ONCE, STRANGERS_AT_ONCE = 2, 1
"""Each takes the memory of its cost, and a processor: whoever is known finds one free."""
STRANGERS_IN_LINE = 20
"""About a second's worth. Whoever comes then comes again."""
COME_AGAIN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Argon2's parameters. Fewer make a stolen hash worth trying."""

    passes: int
    memory_kib: int
    lanes: int


OWASP = Cost(passes=1, memory_kib=46 << 10, lanes=1)
"""Password Storage Cheat Sheet, the first of its equally strong settings."""


def _judge(password: str, guessed_first: Iterable[str]) -> None:
    """Raises WeakPassword, with what to do. ``guessed_first``: texts whose words anybody would try."""
    if not FEWEST_CHARACTERS <= len(password) <= MOST_CHARACTERS or _NO_TEXT.search(password):
        raise WeakPassword(
            "A password has {fewest} to {most} characters.", fewest=FEWEST_CHARACTERS, most=MOST_CHARACTERS
        )
    from zxcvbn import zxcvbn  # its lists are 12 MiB, which whoever checks no password does without

    judged = zxcvbn(password[:READ_CHARACTERS], user_inputs=_words(guessed_first))
    if min(judged["guesses"], _guesses_of_the_rest(judged["sequence"])) < LEAST_GUESSES:
        raise WeakPassword("This password is too easy to guess. A few words that do not belong together are good.")


def _guesses_of_the_rest(parts: Sequence[Mapping[str, Any]]) -> float:
    """Without the words that anybody would try; zxcvbn alone takes any three parts for hard enough."""
    rest = [part["guesses"] for part in parts if part.get("dictionary_name") != "user_inputs"]
    return math.inf if len(rest) == len(parts) else math.prod(rest)


def _words(texts: Iterable[str]) -> list[str]:
    """Each text as it is and word by word, in their order."""
    return [word for text in texts for word in (text, *_BETWEEN_WORDS.split(text)) if word]


class Passwords:
    """Judges, hashes and compares. The last two take as long for somebody who has no account.

    ``stranger``: nothing shows yet that it is somebody, neither a session nor a link nor a known browser. Raises
    TooManyTries for one whom the line has no room for.
    """

    def __init__(self, cost: Cost = OWASP, context: Sequence[str] = ()) -> None:
        """``context`` are texts that everybody knows who chooses a password here: the service's name, its host."""
        argon2 = Argon2Hasher(time_cost=cost.passes, memory_cost=cost.memory_kib, parallelism=cost.lanes)
        self._hasher = PasswordHash((argon2,))
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._strangers = asyncio.Semaphore(STRANGERS_AT_ONCE)
        self._in_line = 0
        self._nobodys = self._hasher.hash(secrets.token_urlsafe())
        self._context = (*context, *CONTEXT_WORDS)

    async def check(self, password: str, personal: Iterable[str], *, stranger: bool = False) -> None:
        """Raises WeakPassword. ``personal``: the name, the email."""
        async with self._turn(stranger):
            await asyncio.to_thread(_judge, password, (*personal, *self._context))

    def must_have_room(self) -> None:
        """For a stranger more; to be asked before one try more is counted. Raises TooManyTries."""
        if self._in_line >= STRANGERS_IN_LINE:
            raise TooManyTries(
                "Many people are trying to come in right now. Please try again in a few seconds.",
                COME_AGAIN_SECONDS,
            )

    async def hash(self, password: str, *, stranger: bool = False) -> str:
        async with self._turn(stranger):
            return await asyncio.to_thread(self._hasher.hash, normalize("NFC", password))

    async def is_right(self, password: str, hashed: str | None, *, stranger: bool = False) -> bool:
        """False for a hash that is None, after the same time."""
        async with self._turn(stranger):
            right = await asyncio.to_thread(self._verify, password, hashed or self._nobodys)
        return right and hashed is not None

    @asynccontextmanager
    async def _turn(self, stranger: bool) -> AsyncIterator[None]:
        if not stranger:
            async with self._gate:
                yield
            return
        self.must_have_room()
        self._in_line += 1
        try:
            async with self._strangers, self._gate:
                yield
        finally:
            self._in_line -= 1

    def _verify(self, password: str, hashed: str) -> bool:
        try:
            return self._hasher.verify(normalize("NFC", password[: MOST_CHARACTERS + 1]), hashed)
        except (PwdlibError, UnicodeEncodeError):
            return False
