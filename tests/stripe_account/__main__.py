"""``make stripe-check``: the scenarios against the test account at Stripe whose key is in STRIPE_TEST_KEY."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.stripe_account.key import NoTestKey, required_key

TIMEOUT_SECONDS = 900
"""Of one scenario, which may wait several times for Stripe."""


def main(arguments: list[str]) -> int:
    try:
        required_key(os.environ)
    except NoTestKey as error:
        raise SystemExit(str(error)) from None
    command = [sys.executable, "-m", "pytest", "-m", "stripe", f"--timeout={TIMEOUT_SECONDS}"]
    return subprocess.run([*command, *arguments, str(Path(__file__).parent)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
