"""Debian's programs that tests run. Where one is missing the tests fail and say so."""

from __future__ import annotations

import os
import shutil

import pytest

WITHOUT = "TESTS_WITHOUT_PROGRAMS"
"""Set where such programs cannot be installed: `.ci/run` has said then which tests do not run."""

PACKAGES = {
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "amtool": "prometheus-alertmanager",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "prometheus-node-exporter": "prometheus-node-exporter",
    "prometheus-postgres-exporter": "prometheus-postgres-exporter",
    "prometheus-blackbox-exporter": "prometheus-blackbox-exporter",
    "caddy": "caddy",
}
"""Each program with its package."""


def program(name: str) -> str:
    """Its path. The test fails where it is missing, but on a machine that is known to lack such programs."""
    path = shutil.which(name)
    if path is None:
        reason = f"this cannot be tested without {name}: apt install {PACKAGES[name]}"
        if WITHOUT in os.environ:
            pytest.skip(reason)
        pytest.fail(reason, pytrace=False)
    return path
