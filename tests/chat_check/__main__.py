"""``make chat-check``: every step, in its order; the result goes into docs/librechat.md."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

from appliance.librechat.running.release import ReleaseError, check
from tests.chat_check.report import Outcome, write
from tests.chat_check.stage import Stage, staged
from tests.chat_check.steps import STEPS, Step
from tests.librechat.kept import COLLECTIONS, collections_of


def main(env: Mapping[str, str]) -> int:
    source = Path(env.get("LIBRECHAT_SOURCE") or "librechat").resolve()
    try:
        check(source)
    except ReleaseError as error:
        raise SystemExit(f"error: {error}") from None
    if others := sorted(collections_of(source) ^ COLLECTIONS.keys()):
        raise SystemExit(f"error: LibreChat has other collections than are known here: {', '.join(others)}")
    with staged() as stage:
        outcomes = [_done(step, stage) for step in STEPS]
        write(outcomes, stage.facts())
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def _done(step: Step, stage: Stage) -> Outcome:
    """A step that fails says so; those after it are done all the same."""
    try:
        outcome = Outcome(step.shows, step.do(stage), passed=True)
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is this step's result
        traceback.print_exc()
        stage.photograph(f"failed-{step.do.__name__}")
        outcome = Outcome(step.shows, str(error).splitlines()[0][:200], passed=False)
    sys.stdout.write(f"{'passed' if outcome.passed else 'FAILED'}  {outcome.shows}: {outcome.found}\n")
    sys.stdout.flush()
    return outcome


if __name__ == "__main__":
    sys.exit(main(os.environ))
