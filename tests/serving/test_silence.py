"""Every way to a log loses its text. In a process of its own, for silence has no end."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import logging, sys, threading, warnings
from serving.replica import silence
logging.basicConfig(level=logging.INFO)
logging.getLogger("vllm").error("before: %s", "told")
silence.begin()
log = logging.getLogger("vllm.core")
log.error("secret %s", "secret")
log.error("secret", extra={"x": 1}, stack_info=True)
try:
    raise ValueError("secret")
except ValueError:
    log.exception("secret")
warnings.warn("secret", stacklevel=1)
thread = threading.Thread(target=lambda: {}["secret"])
thread.start(); thread.join()
class Bad:
    def __del__(self): raise KeyError("secret")
Bad()
logging.getLogger("serving.engine").error("ours")
raise RuntimeError("secret")
"""


def test_no_text_from_a_request_reaches_a_log() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "told" in done.stderr
    assert "ours" in done.stderr
    assert "secret" not in done.stderr + done.stdout
    for kind in ("ValueError", "KeyError", "RuntimeError"):
        assert kind in done.stderr
