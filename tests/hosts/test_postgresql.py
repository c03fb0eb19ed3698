"""The role postgresql: alone on a machine, and with a second node that reaches it by TLS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts.host import Host
from tests.hosts.network import Network
from tests.hosts.restoring import PYTHON, Site, binds, psql, role

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(600)]

SMALL = {"domain": "llm.example.com", "postgresql_shared_buffers_mb": 32}
ASK = """
import asyncio, sys
from appliance.settings import load_settings
from billing.database.db import Database, fetch
async def ask():
    database = Database(load_settings({"DATABASE_URL": sys.argv[1]}).sqlalchemy_url)
    async with database.begin() as connection:
        print((await fetch(connection, "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))[0][0])
    await database.close()
asyncio.run(ask())
"""
REMEMBER = {"ansible.builtin.copy": {"content": "{{ postgresql_url }}", "dest": "/root/url", "mode": "0600"}}


def test_a_machine_has_a_database_and_a_second_node_reaches_it_by_tls(
    net: Network, new_host: Callable[..., Host], tmp_path: Path
) -> None:
    first, worker = new_host("front", *binds()), new_host("worker", *binds())
    site = Site(tmp_path, SMALL, {"first": [first], "nodes": [first]})
    site.converge([role("postgresql")])
    for setting, value in {"data_checksums": "on", "server_encoding": "UTF8", "listen_addresses": ""}.items():
        assert psql(first, f"SHOW {setting}") == value
    assert "5432" not in first.run("cat", "/proc/net/tcp")
    assert not comes_in(first, "nobody", "appliance")
    assert not comes_in(first, "nobody", "postgres")
    assert not comes_in(first, "postgres", "appliance")
    first.run("useradd", "--system", "appliance")
    assert comes_in(first, "appliance", "appliance")
    first.run("useradd", "--system", "prometheus")
    assert comes_in(first, "prometheus", "prometheus")

    again = site.converge([role("postgresql")])
    assert again.changed == {"front": 0}, again.changes
    assert site.converge([role("postgresql")], "--check", "--diff").changed == {"front": 0}

    site.groups |= {"workers": [worker], "nodes": [first, worker]}
    reaching = [role("postgresql"), role("postgresql", on="workers", tasks="address")]
    reaching[1]["tasks"].append(REMEMBER)
    site.converge(reaching)
    assert site.converge(reaching).changed == {"front": 0, "worker": 0}
    url = worker.run("cat", "/root/url")
    assert asks(worker, url) == "TLSv1.3\n"
    wrong = url.replace("postgresql-ca.crt", "somebody-elses.crt")
    worker.run("cp", "/etc/ssl/certs/ISRG_Root_X1.pem", "/etc/appliance/somebody-elses.crt")
    assert "PostgreSQL cannot be reached" in asks(worker, wrong)
    first.reboot()
    first.wait("PostgreSQL answers", lambda: asks(worker, url) == "TLSv1.3\n")

    stranger = new_host("stranger", *binds())
    stranger.put("/etc/appliance/postgresql-ca.crt", worker.run("cat", "/etc/appliance/postgresql-ca.crt"))
    assert "no pg_hba.conf entry" in asks(stranger, url)


def test_a_database_elsewhere_is_left_alone(net: Network, new_host: Callable[..., Host], tmp_path: Path) -> None:
    host = new_host("alone")
    site = Site(
        tmp_path,
        {**SMALL, "database_url": "postgresql://a:b@db.example.com/c"},
        {"first": [host], "nodes": [host]},
    )
    assert site.converge([role("postgresql")]).changed == {"alone": 0}
    assert "no" in host.run("sh", "-c", "command -v psql || echo no")


def comes_in(host: Host, user: str, as_role: str) -> bool:
    """Whether that user of the host may be that role."""
    line = f"runuser -u {user} -- psql -XAtqc 'SELECT 1' -U {as_role} appliance"
    return host.ssh(line).returncode == 0


def asks(host: Host, url: str) -> str:
    """By the product's own way to PostgreSQL: the version of TLS, or what went wrong."""
    done = host.ssh(f"env {PYTHON} - '{url}'", data=ASK.encode())
    return done.stdout.decode() + done.stderr.decode()
