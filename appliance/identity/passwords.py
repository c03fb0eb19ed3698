"""Passwords: hashed by Argon2id, a few at a time, off the event loop."""

import asyncio
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import normalize

from pwdlib import PasswordHash
from pwdlib.exceptions import PwdlibError
from pwdlib.hashers.argon2 import Argon2Hasher

from appliance.identity.errors import WeakPassword

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
AT_ONCE = 2
"""Each takes the memory of its cost."""


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
    """Judges, hashes and compares. The last two take as long for somebody who has no account."""

    def __init__(self, cost: Cost = OWASP, context: Sequence[str] = ()) -> None:
        """``context`` are texts that everybody knows who chooses a password here: the service's name, its host."""
        argon2 = Argon2Hasher(time_cost=cost.passes, memory_cost=cost.memory_kib, parallelism=cost.lanes)
        self._hasher = PasswordHash((argon2,))
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._nobodys = self._hasher.hash("nobody's")
        self._context = (*context, *CONTEXT_WORDS)

    async def check(self, password: str, personal: Iterable[str]) -> None:
        """Raises WeakPassword. ``personal``: the name, the email."""
        await asyncio.to_thread(_judge, password, (*personal, *self._context))

    async def hash(self, password: str) -> str:
        async with self._gate:
            return await asyncio.to_thread(self._hasher.hash, normalize("NFC", password))

    async def is_right(self, password: str, hashed: str | None) -> bool:
        """False for a hash that is None, after the same time."""
        async with self._gate:
            right = await asyncio.to_thread(self._verify, password, hashed or self._nobodys)
        return right and hashed is not None

    def _verify(self, password: str, hashed: str) -> bool:
        try:
            return self._hasher.verify(normalize("NFC", password[: MOST_CHARACTERS + 1]), hashed)
        except (PwdlibError, UnicodeEncodeError):
            return False
