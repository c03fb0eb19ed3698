"""What the role `caddy` installs, in a real Caddy on the loopback: its makers' newest, and Debian's."""

import http.client
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, StrictUndefined

from tests import caddy
from tests.ports import free_port
from tests.programs import program

TEMPLATE = Path(__file__).parent.parent.parent / "ansible/roles/caddy/templates/Caddyfile.j2"
VALUES: dict[str, Any] = {
    "ansible_managed": "by the test", "caddy_mail": "ops@llm.example", "caddy_authority": "internal",
    "caddy_acme_directory": "", "caddy_acme_root": "", "caddy_reload_seconds": 1, "caddy_body_max": "33MiB",
    "caddy_domain": "llm.example", "caddy_site": "127.0.0.1:9",
    "caddy_gateways": ["127.0.0.1:9"], "caddy_chat": False,
}  # fmt: skip


@dataclass(frozen=True)
class Ports:
    """Where it answers instead of at 80 and 443."""

    plain: int
    secure: int


@pytest.fixture(scope="module", params=["caddy", "system"])
def ports(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    folder, plain, secure, metrics = tmp_path_factory.mktemp("caddy"), free_port(), free_port(), free_port()
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, autoescape=False)
    environment.filters["bool"] = bool
    text = environment.from_string(TEMPLATE.read_text()).render(VALUES, caddy_from=request.param)
    admin, own = "admin unix//run/caddy/admin.sock", f"admin unix/{folder}/admin.sock"
    assert admin in text
    text = text.replace(admin, f"{own}\n\thttp_port {plain}\n\thttps_port {secure}\n\tdefault_bind 127.0.0.1")
    (folder / "Caddyfile").write_text(text.replace("127.0.0.1:2019", f"127.0.0.1:{metrics}"))
    found = program("caddy") if request.param == "system" else str(caddy.program())
    homes = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    command = [found, "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(command, env=homes, stdout=log, stderr=log)
    try:
        for _ in range(100):
            if running.poll() is None:
                try:
                    asked(plain, "llm.example")
                    if spoken(secure, ssl.TLSVersion.TLSv1_3, "DEFAULT"):  # its certificate is there too
                        break
                except OSError:
                    pass
            time.sleep(0.1)
        else:
            pytest.fail((folder / "log").read_text()[-2000:])
        yield Ports(plain, secure)
        assert "deprecated" not in (folder / "log").read_text()
    finally:
        running.terminate()
        running.wait(20)


def asked(port: int, host: str) -> tuple[int, str | None, bytes]:
    """The status, where it leads, and the body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/v1/models", headers={"Host": host})
        answer = connection.getresponse()
        return answer.status, answer.getheader("Location"), answer.read()
    finally:
        connection.close()


def test_a_browser_is_sent_on_to_tls(ports: Ports) -> None:
    status, location, _ = asked(ports.plain, "llm.example")
    assert status == 308
    assert location is not None
    assert location.startswith("https://llm.example")


def test_a_program_is_told_that_the_api_has_tls_alone(ports: Ports) -> None:
    status, location, body = asked(ports.plain, "api.llm.example")
    assert (status, location) == (403, None)
    assert b'"https_required"' in body


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_is_1_2_and_newer_with_ciphers_that_are_recommended(ports: Ports) -> None:
    versions = ssl.TLSVersion
    assert spoken(ports.secure, versions.TLSv1_3, "DEFAULT") == "TLSv1.3"
    assert spoken(ports.secure, versions.TLSv1_2, "ECDHE+AESGCM:ECDHE+CHACHA20") == "TLSv1.2"
    assert spoken(ports.secure, versions.TLSv1_2, "AES128-SHA:AES256-SHA256:ECDHE-ECDSA-AES128-SHA256") is None
    assert spoken(ports.secure, versions.TLSv1_1, "DEFAULT") is None


def spoken(port: int, version: ssl.TLSVersion, ciphers: str) -> str | None:
    """What a client that knows this alone agrees on with it; None: nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        try:
            with context.wrap_socket(connection, server_hostname="llm.example") as secure:
                return secure.version()
        except ssl.SSLError as error:
            if "ALERT" not in str(error):  # it was not Caddy that refused
                raise
            return None
