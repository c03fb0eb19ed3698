"""What the user sees of a start: a line for each step with its seconds, alive on a terminal."""

from __future__ import annotations

import sys
import time
from typing import TextIO

NAME_WIDTH = 10
TEXT_WIDTH = 46
TEXT_MAX = 60
REMINDER_SECONDS = 15.0


class Screen:
    """Prints finished steps for good and, on a terminal, redraws the running ones below them."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._live = out.isatty()
        self._running: list[Step] = []
        self._drawn = 0

    def step(self, name: str, text: str) -> Step:
        step = Step(self, name, text)
        self._running.append(step)
        self.refresh()
        return step

    def say(self, *lines: str) -> None:
        """Lines that stay, above the running steps."""
        self._erase()
        for line in lines:
            self._out.write(line + "\n")
        self._draw()

    def refresh(self) -> None:
        """To be called about once a second."""
        if self._live:
            self._erase()
            self._draw()
            return
        for step in self._running:
            if step.is_due():
                self._out.write(step.line() + " ...\n")
        self._out.flush()

    def finish(self, step: Step) -> None:
        if step in self._running:
            self._running.remove(step)
            self.say(step.line())

    def _erase(self) -> None:
        if self._drawn:
            self._out.write(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0

    def _draw(self) -> None:
        if self._live:
            for step in self._running:
                self._out.write(step.line() + "\n")
            self._drawn = len(self._running)
        self._out.flush()


class Step:
    """One thing that is being done."""

    def __init__(self, screen: Screen, name: str, text: str) -> None:
        self._screen = screen
        self._name = name
        self._text = text
        self._started = self._reminded = time.monotonic()

    def update(self, text: str) -> None:
        """Say how far it is; shown with the next refresh."""
        self._text = text or self._text

    def done(self, text: str) -> None:
        """The last word, with the time it took."""
        self._text = text
        self._screen.finish(self)

    def is_due(self) -> bool:
        """Whether a user without a terminal should be told that it still goes on."""
        if time.monotonic() - self._reminded < REMINDER_SECONDS:
            return False
        self._reminded = time.monotonic()
        return True

    def line(self) -> str:
        seconds = time.monotonic() - self._started
        return f"{self._name:<{NAME_WIDTH}} {self._text[:TEXT_MAX]:<{TEXT_WIDTH}} {seconds:6.1f} s"
