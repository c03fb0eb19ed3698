"""The parts that can be services of systemd, each by the name that `up` has for it."""

from __future__ import annotations

from enum import StrEnum


class Service(StrEnum):
    RAY = "ray"
    SERVING = "serving"
    GATEWAY = "gateway"
    SITE = "site"
    WORKER = "worker"
