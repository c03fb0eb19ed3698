"""A fresh pair of machines, set up by site.yml. Stubs stand in for the gateways, the site and the chat."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import caddy
from tests.hosts import authority
from tests.hosts.host import Host
from tests.hosts.network import OUTSIDE, Network
from tests.hosts.playbook import converge, inventory, play
from tests.hosts.scanning import forget, open_ports, scan, spray, watch, watched
from tests.hosts.stub_repository import Package, Repository, repository
from tests.hosts.systems import system
from tests.hosts.vendors import CADDY_ORIGIN, CARD, NVIDIA, caddy_packages

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(900)]

HERE = Path(__file__).parent
ROLES = "--tags=preflight,base,nvidia,caddy"
NAMES = ("llm.test", "api.llm.test", "chat.llm.test")
STUBS = "/srv/stub"
PAUSE_SECONDS = 65
"""Longer than the minute after which Caddy 2.11.6 ended an answer."""
STOP_SECONDS = 20
"""The role's ``caddy_stop_seconds``."""
NEWER = f"{caddy.version()}+1"
VENDORS_ALONE = 'Dir::Etc::sourcelist "/dev/null"; APT::Get::List-Cleanup "false";\n'
WIREGUARD = 51820
STUB_UNIT = "[Service]\nExecStart=python3 /srv/stub_service.py {port} {folder} {addresses}\nRestart=always\n"


class Pair:
    """``first`` has Caddy, ``second`` is a further node. ``file`` is their inventory."""

    def __init__(
        self, net: Network, first: Host, second: Host, nvidia: Repository, proxy: Repository, folder: Path
    ) -> None:
        self.net, self.first, self.second, self.folder = net, first, second, folder
        self.nvidia, self.proxy = nvidia, proxy
        self.file = self.written()

    def written(self, **changed: object) -> Path:
        hosts = (self.first, self.second)
        variables = {
            "domain": NAMES[0], "operator_name": "Example AS", "operator_mail": "ops@llm.test", "chat": True,
            "librechat_archive": "librechat.tar.gz",
            "models": [{"id": "some"}], "stripe_api_key": "sk_test_1", "stripe_webhook_secret": "whsec_1",
            "caddy_authority": "internal", "caddy_suite": "./", "preflight_memory_gib": 2, "preflight_disk_gib": 1,
            "preflight_pci_folder": CARD, "nvidia_pci_folder": CARD, "nvidia_headers": ["linux-headers-stub"],
            **self.nvidia.of("nvidia"), **self.proxy.of("caddy"),
        }  # fmt: skip
        of_each: dict[str, dict[str, object]] = {host.name: {"node_address": host.address} for host in hosts}
        of_each["gpu2"]["base_more_udp"] = [WIREGUARD]
        return inventory(self.folder, self.first, [self.second], of_each=of_each, **(variables | changed))

    def asked(self, name: str, path: str, *options: str, seconds: float = 30) -> str:
        """By curl, from outside."""
        there = [word for one in NAMES for word in ("--resolve", f"{one}:443:{self.first.address}")]
        url = f"https://{name}{path}"
        return self.net.outside(
            "curl", "--silent", "--show-error", "--insecure", *there, *options, url, seconds=seconds, check=False
        )

    def noted(self, host: Host, port: int) -> list[dict[str, object]]:
        return [json.loads(line) for line in host.run("cat", f"{STUBS}/{port}.jsonl", check=False).splitlines()]


@pytest.fixture(scope="module")
def pair(net: Network, new_host: Callable[..., Host], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("site")
    first, second = new_host("gpu1"), new_host("gpu2")
    with (
        repository(folder / "nvidia", net.gateway) as nvidia,
        repository(folder / "caddy", net.gateway, CADDY_ORIGIN) as proxy,
    ):
        nvidia.build(*NVIDIA)
        old, _ = caddy_packages(first, proxy.folder, caddy.version(), NEWER)
        proxy.build(old)
        for host in (first, second):
            host.knows(dict.fromkeys(NAMES, first.address))
            host.put(f"{CARD}/0000:01:00.0/vendor", "0x10de\n")
            host.put("/srv/stub_service.py", HERE / "stub_service.py")
            stub(host, 8000, "127.0.0.1", host.address)
        first.put(f"{CARD}/0000:02:00.0/vendor", "0x10de\n")
        first.put(f"{CARD}/0000:02:00.0/class", "0x068000\n")
        second.put(f"{CARD}/0000:02:00.0/vendor", "0x15b3\n")
        second.put(f"{CARD}/0000:02:00.0/vpd", b"\x82\x03\x00A\x00SW_MNG\x90")
        for port in (8001, 3080):
            stub(first, port, "127.0.0.1")
        yield Pair(net, first, second, nvidia, proxy, folder)


def stub(host: Host, port: int, *addresses: str) -> None:
    unit = STUB_UNIT.format(port=port, folder=STUBS, addresses=" ".join(addresses))
    host.put(f"/etc/systemd/system/stub-{port}.service", unit + "[Install]\nWantedBy=multi-user.target\n")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "enable", "--now", f"stub-{port}")


def test_what_is_wrong_is_said_all_at_once_and_nothing_is_changed(pair: Pair) -> None:
    pair.written(
        domain="llm.example.com", operator_mail="somebody", models=[], stripe_api_key=None, gpu=True,
        preflight_pci_folder="/srv/none", preflight_memory_gib=9000, preflight_disk_gib=90000,
        database_url="postgresql+psycopg://appliance@db.llm.test/appliance", backup_to={"type": "sftp"},
    )  # fmt: skip
    pair.first.put("/srv/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n")
    pair.first.put("/etc/ufw/ufw.conf", "ENABLED=yes\n")
    stub(pair.first, 80, "0.0.0.0")
    played = play(
        pair.file,
        "site.yml",
        "-e",
        "preflight_swaps_file=/srv/swaps",
        "-e",
        "node_address=203.0.113.10",
        "--limit=gpu1",
        ROLES,
    )
    for sentence in (
        "9000 are needed", "90000 are needed", "The firewall ufw is on", "Port 80 or 443 is taken by python3",
        "Memory is paged to /dev/sda2", "domain is still the example's", "operator_mail is 'somebody'",
        "The DNS does not know llm.example.com, api.llm.example.com, chat.llm.example.com",
        "models is empty", "stripe_api_key is not one of Stripe's", "There is no card of NVIDIA",
        "node_address is 203.0.113.10, which is public", "database_networks does not say in which networks it is",
        "backup_passphrase in the vault has fewer than 20 characters", "host, user, path or host_key is missing",
    ):  # fmt: skip
        assert sentence in " ".join(played.output.split()), sentence
    assert played.status != 0
    assert played.changed["gpu1"] == 0
    assert "Set up the firewall" not in played.output
    pair.first.run("systemctl", "disable", "--now", "stub-80")
    pair.first.run("rm", "/etc/ufw/ufw.conf", "/etc/systemd/system/stub-80.service")
    pair.written()


def test_another_key_than_nvidias_is_refused(pair: Pair) -> None:
    played = play(pair.file, "site.yml", "--tags=nvidia", "-e", f"nvidia_key_fingerprint={'A' * 40}")
    assert f"is {pair.nvidia.fingerprint} and not {'A' * 40}. Nothing was installed" in played.said
    assert pair.first.run("ls", "/etc/apt/sources.list.d") == ""


def test_a_repository_that_another_file_names_is_refused_before_apt_reads_none(pair: Pair) -> None:
    """As images of providers have NVIDIA's."""
    theirs = "/etc/apt/sources.list.d/cuda.list"
    pair.first.put(theirs, f"deb [signed-by=/usr/share/keyrings/cuda.gpg] {pair.nvidia.url}/ /\n")
    played = play(pair.file, "site.yml", "--tags=nvidia")
    assert f"{theirs} names {pair.nvidia.url}/ already" in played.said
    assert pair.first.run("ls", "/etc/apt/sources.list.d") == "cuda.list\n"
    pair.first.run("rm", theirs)


def test_fresh_machines_are_set_up_and_a_second_run_changes_nothing(pair: Pair) -> None:
    converge(pair.file, "site.yml", ROLES)
    for host in (pair.first, pair.second):
        assert host.run("nvidia-smi").strip() == "580.95.05"
        assert host.boots == 2, "restarted once for the driver"
        assert (
            host.run("systemctl", "is-active", "appliance-firewall", "nvidia-persistenced").split()
            == ["active"] * 2
        )
    for host, managers in ((pair.first, "nvidia-fabricmanager"), (pair.second, "nvidia-fabricmanager nvlsm")):
        assert host.runs("nvidia-fabricmanager.service")
        packages = host.run(
            "dpkg-query", "--show", "--showformat=${Package} ", "nvidia-fabric*", "nvls*", check=False
        )
        assert packages.split() == managers.split(), "whether the switches are devices, or behind a network card"
    assert pair.second.run("cat", "/etc/modules-load.d/appliance-nvidia.conf") == "ib_umad\nmlx5_ib\n"
    assert pair.first.run("caddy", "version").startswith(f"v{caddy.version()} ")
    assert converge(pair.file, "site.yml", ROLES).changed == {"gpu1": 0, "gpu2": 0}
    assert converge(pair.file, "site.yml", ROLES, "--check", "--diff").changed == {"gpu1": 0, "gpu2": 0}


def test_the_world_reaches_ssh_and_caddy_alone(pair: Pair) -> None:
    """A service that listens on every address is there for the cluster's own nodes."""
    for host, tcp, udp in ((pair.first, [22, 80, 443], [443]), (pair.second, [22], [WIREGUARD])):
        stub(host, 6379, "0.0.0.0")
        scan(pair.net, host, tcp, udp)
    for here, there in ((pair.first, pair.second), (pair.second, pair.first)):
        assert '"path": "/ray"' in got(here, f"http://{there.address}:6379/ray")


def test_the_scan_sees_what_is_open(pair: Pair) -> None:
    watch(pair.net, pair.second)
    pair.second.run("nft", "delete", "table", "inet", "appliance")
    assert 6379 in open_ports(pair.net, pair.second.address)
    spray(pair.net, pair.second.address)
    assert len(watched(pair.second)[1]) > 60000
    pair.second.run("systemctl", "restart", "appliance-firewall")
    forget(pair.second)
    assert open_ports(pair.net, pair.second.address) == [22]


def got(host: Host, url: str) -> str:
    """Asked for on a host, by what it has."""
    code = "import sys, urllib.request as ask; print(ask.urlopen(sys.argv[1], timeout=5).read().decode())"
    return host.run("python3", "-c", code, url)


def test_rules_of_others_stay_and_their_reload_takes_ours_not_away(pair: Pair) -> None:
    host = pair.first
    host.run("nft", "add", "table", "inet", "others")
    host.run("systemctl", "reload-or-restart", "appliance-firewall")
    assert {"table inet others", "table inet appliance"} <= set(host.run("nft", "list", "tables").splitlines())
    host.run("systemctl", "restart", "nftables")
    host.wait("the rules are back", lambda: "table inet appliance" in host.run("nft", "list", "tables"), 10)


def test_rules_that_cannot_be_loaded_leave_ssh_alone_open(pair: Pair) -> None:
    host = pair.second
    rules = host.run("cat", "/etc/appliance/firewall.nft")
    host.put("/etc/appliance/firewall.nft", rules.replace("policy drop", "policy dropp"))
    host.ssh("systemctl restart appliance-firewall")
    assert "@cluster accept" in host.run("nft", "list", "table", "inet", "appliance"), "the old ones stay"
    host.reboot()
    assert host.run("systemctl", "is-failed", "appliance-firewall", check=False) == "failed\n"
    assert open_ports(pair.net, host.address) == [22]
    host.put("/etc/appliance/firewall.nft", rules)
    host.run("systemctl", "restart", "appliance-firewall")
    assert '"path": "/ray"' in got(pair.first, f"http://{host.address}:6379/ray")


def test_nobody_is_let_in_by_a_password(pair: Pair) -> None:
    options = ("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")
    said = pair.net.outside("sh", "-c", 'ssh "$@" 2>&1; true', "sh", *options, f"root@{pair.first.address}")
    assert "Permission denied (publickey)." in said


def test_no_memory_is_written_to_disk_and_updates_come_for_security_and_caddy_alone(pair: Pair) -> None:
    host = pair.first
    assert host.run("systemctl", "show", "--property=DefaultLimitCORE", "--value").strip() == "0"
    assert "kernel.core_pattern = |/bin/false" in host.run("cat", "/etc/sysctl.d/80-appliance.conf")
    security, proxy = origins(host)
    assert security.endswith(system().updates_from)
    assert proxy == f"origin={CADDY_ORIGIN}"
    assert len(origins(pair.second)) == 1
    assert host.run("systemctl", "is-active", "apt-daily-upgrade.timer").strip() == "active"


def origins(host: Host) -> list[str]:
    """Of the packages that are updated by themselves."""
    settings = host.run("apt-config", "dump", "Unattended-Upgrade::Origins-Pattern")
    return [line.split('"')[1] for line in settings.splitlines() if "origin=" in line]


def test_requests_pass_and_what_is_inside_stays_inside(pair: Pair) -> None:
    answer = pair.asked(
        "api.llm.test", "/v1/models", "--include", "--header", "X-Forwarded-For: 192.0.2.1"
    ).lower()
    assert answer.startswith("http/2 200")
    assert "strict-transport-security: max-age=31536000" in answer
    assert "\nserver:" not in answer
    assert "x-powered-by" not in answer
    [asked] = [
        one for host in (pair.first, pair.second) for one in pair.noted(host, 8000) if one["path"] == "/v1/models"
    ]
    headers = asked["headers"]
    assert isinstance(headers, dict)
    assert headers["X-Forwarded-For"] == pair.net.address(OUTSIDE)
    assert '"port": 8001' in pair.asked("llm.test", "/")
    chat = pair.asked("chat.llm.test", "/c/new", "--include").lower()
    assert '"port": 3080' in chat
    assert "permissions-policy: camera=(), geolocation=(), microphone=()" in chat
    for name, path in [(name, path) for name in NAMES for path in ("/metrics", "/metrics/targets", "/readyz")] + [
        ("chat.llm.test", "/register"), ("chat.llm.test", "/api/auth/login"), ("chat.llm.test", "/api/admin/x"),
    ]:  # fmt: skip
        assert pair.asked(name, path, "--include").startswith("HTTP/2 404"), (name, path)
    plain = pair.net.outside(
        "curl", "--silent", "--include", "--header", "Host: llm.test", f"http://{pair.first.address}/x"
    )
    assert "Location: https://llm.test/x" in plain


def test_a_body_that_is_too_large_gets_the_gateways_own_answer(pair: Pair) -> None:
    pair.folder.joinpath("large").write_bytes(bytes((32 << 20) + 1))
    sent = pair.asked("api.llm.test", "/v1/x", "--include", "--data-binary", f"@{pair.folder / 'large'}")
    assert sent.startswith("HTTP/2 413")
    assert "too_large" in sent
    pair.folder.joinpath("large").write_bytes(bytes(32 << 20))
    assert f'"bytes": {32 << 20}' in pair.asked(
        "api.llm.test", "/v1/x", "--data-binary", f"@{pair.folder / 'large'}"
    )


def test_an_answer_passes_as_it_is_written(pair: Pair) -> None:
    late = lateness(streamed(pair, "api.llm.test", 3))
    assert len(late) == 30
    assert max(late) < 0.5
    assert max(lateness(streamed(pair, "chat.llm.test", 1))) < 0.5


def streamed(pair: Pair, name: str, seconds: int) -> str:
    """Each line with the time at which it came."""
    options = f"--no-buffer --silent --insecure --resolve {name}:443:{pair.first.address}"
    stamped = "while read -r line; do echo $(date +%s.%N) $line; done"
    line = f"curl {options} https://{name}/v1/stream/{seconds} | {stamped}"
    return pair.net.outside("sh", "-c", line, seconds=seconds + 60)


def lateness(lines: str) -> list[float]:
    words = [line.split() for line in lines.splitlines() if "data:" in line]
    return [float(came) - float(written) for came, _, _, written in words]


def test_a_client_that_goes_ends_its_request_at_the_gateway(pair: Pair) -> None:
    pair.asked("api.llm.test", "/v1/slow", "--data", "x", "--max-time", "1")

    def gone() -> bool:
        events = [one for host in (pair.first, pair.second) for one in pair.noted(host, 8000)]
        return any(one["path"] == "/v1/slow" and one.get("gone") is True for one in events)

    pair.first.wait("the gateway has heard of it", gone, 8)


def test_a_request_is_sent_to_one_gateway_and_never_again(pair: Pair) -> None:
    answer = pair.asked("api.llm.test", "/v1/broken", "--include", "--data", "x")
    assert answer.startswith("HTTP/2 502")
    assert "retry-after: 1" in answer.lower()
    assert '"code":"unavailable"' in answer
    asked = [
        one for host in (pair.first, pair.second) for one in pair.noted(host, 8000) if one["path"] == "/v1/broken"
    ]
    assert len(asked) == 1


@pytest.mark.parametrize("way", ["not ready", "stopped", "cut off"])
def test_a_gateway_that_is_away_is_left_alone(pair: Pair, way: str) -> None:
    """What cannot be sent to it is sent to the other, with its body."""
    lose = {
        "not ready": lambda: pair.second.put(f"{STUBS}/8000.unready", ""),
        "stopped": lambda: pair.second.run("systemctl", "stop", "stub-8000"),
        "cut off": pair.second.cut_off,
    }
    lose[way]()
    try:
        answers = [ask_again(pair, "/v1/away", "--data", "x") for _ in range(60)]
    finally:
        pair.second.heal()
        pair.second.run("systemctl", "start", "stub-8000")
        pair.second.run("rm", "-f", f"{STUBS}/8000.unready")
    assert [answer for answer in answers if '"bytes": 1' not in answer] == []
    pair.first.wait("it gets requests again", lambda: gets_requests(pair, pair.second), 30)


def ask_again(pair: Pair, path: str, *options: str) -> str:
    time.sleep(0.1)
    return pair.asked("api.llm.test", path, "--include", *options)


def gets_requests(pair: Pair, host: Host) -> bool:
    before = len(pair.noted(host, 8000))
    for _ in range(4):
        pair.asked("api.llm.test", "/v1/again", "--data", "x")
    return len(pair.noted(host, 8000)) > before


def test_what_failed_is_logged_without_what_was_asked(pair: Pair) -> None:
    for host in (pair.first, pair.second):
        host.run("systemctl", "stop", "stub-8000")
    answer = pair.asked(
        "api.llm.test", "/v1/x?word=unspeakable", "--include", "--header", "X-Api-Key: unspeakable", seconds=60
    )
    for host in (pair.first, pair.second):
        host.run("systemctl", "start", "stub-8000")
    assert answer.startswith(("HTTP/2 502", "HTTP/2 503"))
    assert '"code":"unavailable"' in answer
    log = pair.first.run("journalctl", "--unit=caddy", "--output=cat")
    assert "health_checker" in log
    assert "unspeakable" not in log
    pair.first.wait("they get requests again", lambda: gets_requests(pair, pair.second), 30)


def test_who_is_on_the_machine_does_not_command_caddy(pair: Pair) -> None:
    assert "caddy_http_requests_total" in got(pair.first, "http://127.0.0.1:2019/metrics")
    assert got(pair.first, "http://127.0.0.1:2019/config/").strip() == ""
    said = pair.first.ssh("runuser -u nobody -- ls /run/caddy").stderr.decode()
    assert "Permission denied" in said
    assert pair.first.exposure("caddy.service") <= 2.0


def test_new_settings_break_no_stream(pair: Pair) -> None:
    streams: list[str] = []
    reader = threading.Thread(target=lambda: streams.append(streamed(pair, "api.llm.test", 10)))
    reader.start()
    time.sleep(1)
    began = time.monotonic()
    pair.first.run("systemctl", "reload", "caddy")
    assert time.monotonic() - began < 7, "they count while the answer is being written"
    reader.join()
    assert len(lateness(streams[0])) == 100


def test_an_answer_may_pause_for_longer_than_a_minute(pair: Pair) -> None:
    def asked(version: str) -> str:
        path, most = f"/v1/pause/{PAUSE_SECONDS}", PAUSE_SECONDS + 30
        return pair.asked("api.llm.test", path, f"--http{version}", "--data", "x", seconds=most)

    with ThreadPoolExecutor() as threads:
        for came in threads.map(asked, ("1.1", "2")):
            assert came.split() == ["data:", "before", "data:", "after"]


def test_a_restart_of_caddy_breaks_long_answers_alone(pair: Pair) -> None:
    """As an update does: answers have ``caddy_stop_seconds`` to end."""

    def read(seconds: int) -> int:
        return len(lateness(streamed(pair, "api.llm.test", seconds)))

    with ThreadPoolExecutor() as threads:
        short, long = threads.submit(read, 10), threads.submit(read, 60)
        time.sleep(1)
        pair.first.run("systemctl", "restart", "caddy")
    assert short.result() == 100
    assert STOP_SECONDS * 9 < long.result() < 300
    assert pair.asked("api.llm.test", "/v1/models", "--include").startswith("HTTP/2 200")


def test_an_update_of_caddy_comes_by_itself_and_no_other_vendors(pair: Pair) -> None:
    host = pair.first
    pair.proxy.build(*pair.proxy.folder.glob(f"caddy_{NEWER}_*.deb"))
    pair.nvidia.build(Package("nvidia-kernel-open-dkms", "2.0"))
    host.put("/srv/vendors.conf", VENDORS_ALONE)
    for command in ("apt-get update", "unattended-upgrade"):
        host.run("env", "APT_CONFIG=/srv/vendors.conf", *command.split(), seconds=120)
    versions = host.run("dpkg-query", "--show", "caddy", "nvidia-kernel-open-dkms").split()
    assert versions == ["caddy", NEWER, "nvidia-kernel-open-dkms", "1.0"]
    assert "api.llm.test" in host.run("cat", "/etc/caddy/Caddyfile")
    assert pair.asked("api.llm.test", "/v1/models", "--include").startswith("HTTP/2 200")


def test_who_wants_the_systems_caddy_keeps_it(pair: Pair) -> None:
    converge(pair.file, "site.yml", "--tags=caddy", "-e", "caddy_from=system")
    assert len(origins(pair.first)) == 1
    assert pair.asked("api.llm.test", "/v1/models", "--include").startswith("HTTP/2 200")


def test_certificates_come_from_an_authority_and_stay(pair: Pair, new_host: Callable[..., Host]) -> None:
    acme, root = new_host("acme"), pair.folder / "root.pem"
    acme.knows(dict.fromkeys(NAMES, pair.first.address))
    pair.first.put("/etc/acme.crt", authority.start(acme))
    pair.first.knows({**dict.fromkeys(NAMES, pair.first.address), authority.NAME: acme.address})
    pair.written(
        caddy_authority="public", caddy_acme_directory=authority.DIRECTORY, caddy_acme_root="/etc/acme.crt"
    )
    converge(pair.file, "site.yml", "--tags=caddy")
    root.write_text(pair.net.outside("curl", "--silent", "--insecure", f"https://{acme.address}:15000/roots/0"))

    def serials() -> list[str | None]:
        return [authority.serial(name, pair.first.address, root) for name in NAMES]

    pair.first.wait("a certificate for each name", lambda: None not in serials(), 60)
    had = serials()
    pair.first.run("systemctl", "restart", "caddy")
    assert serials() == had


def test_all_of_it_is_there_after_a_restart(pair: Pair) -> None:
    pair.first.reboot()
    assert open_ports(pair.net, pair.first.address) == [22, 80, 443]
    assert pair.asked("api.llm.test", "/v1/models", "--include").startswith("HTTP/2 200")
    assert (
        pair.first.run("systemctl", "is-failed", "appliance-firewall", "caddy", check=False).split()
        == ["active"] * 2
    )
