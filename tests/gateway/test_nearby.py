"""Who may read what is the operator's alone."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from fastapi import Request

from appliance.door.address import NAMED
from appliance.gateway.nearby import is_near

OURS = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("10.9.0.0/16"))


def asked(client: str | None, server: str = "10.0.0.5", *, named: bool = False, **headers: str) -> Request:
    scope: dict[str, Any] = {
        "type": "http", "server": (server, 8000), "client": None if client is None else (client, 5),
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    return Request(scope | ({NAMED: True} if named else {}))


@pytest.mark.parametrize(
    ("request_", "near"),
    [
        (asked("127.0.0.1"), True),
        (asked("::ffff:127.0.0.1"), True),
        (asked("10.9.3.4"), True),
        (asked("10.0.0.5"), True),
        (asked("10.0.0.6"), False),
        (asked(None), False),
        (asked("127.0.0.1", x_forwarded_for="127.0.0.1"), False),
        (asked("10.0.0.5", x_real_ip="10.9.3.4"), False),
        (asked("10.9.3.4", named=True, x_forwarded_for="10.9.3.4"), True),
        (asked("10.0.0.5", named=True, x_forwarded_for="10.0.0.5"), False),
        (asked("1.2.3.4", named=True, x_forwarded_for="1.2.3.4"), False),
    ],
)
def test_who_is_near(request_: Request, near: bool) -> None:
    assert is_near(request_, OURS, itself=True) is near


@pytest.mark.parametrize("networks", [(), OURS])
def test_this_machine_is_near_by_its_own_address_only_where_that_is_wanted(networks: tuple[Any, ...]) -> None:
    itself = asked("10.0.0.5", server="10.0.0.5")
    assert is_near(itself, networks, itself=True)
    assert not is_near(itself, networks, itself=False)
