"""A chat on a host without LibreChat: a stand-in of its release, and TLS in front of the site for the sign-on."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from appliance.librechat import RELEASE
from appliance.librechat.running.release import BUILT, SERVER

CADDYFILE = """{
    local_certs
}
example.test {
    reverse_proxy 127.0.0.1:8001
}
"""
WALL = """table inet wall
delete table inet wall
table inet wall {
    chain output {
        type filter hook output priority filter;
        oifname != "lo" meta skuid "librechat" reject
    }
}
"""
"""What systemd's ``IPAddressDeny`` does for LibreChat on a machine: in a container it does nothing."""
AUTHORITY = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"
TASKS: list[dict[str, Any]] = [
    {"name": "Install Caddy", "ansible.builtin.apt": {"name": ["caddy", "nftables"]}},
    {
        "name": "Have its user for the wall",
        "ansible.builtin.user": {"name": "librechat", "system": True, "create_home": False},
    },
    {"name": "Write the wall", "ansible.builtin.copy": {"content": WALL, "dest": "/etc/wall.nft", "mode": "0644"}},
    {"name": "Build it", "ansible.builtin.command": "nft -f /etc/wall.nft", "changed_when": False},
    {
        "name": "Give the site TLS",
        "ansible.builtin.copy": {"content": CADDYFILE, "dest": "/etc/caddy/Caddyfile", "mode": "0644"},
        "register": "written",
    },
    {
        "name": "Take it over",
        "ansible.builtin.systemd_service": {"name": "caddy", "state": "restarted"},
        "when": "written is changed",
    },
    {"name": "Wait for its authority", "ansible.builtin.wait_for": {"path": AUTHORITY, "timeout": 60}},
    {
        "name": "Trust it",
        "ansible.builtin.copy": {
            "src": AUTHORITY, "dest": "/usr/local/share/ca-certificates/caddy.crt", "remote_src": True,
            "mode": "0644",
        },
        "register": "known",
    },
    {
        "name": "Tell everybody", "ansible.builtin.command": "update-ca-certificates", "when": "known is changed",
        "changed_when": True,
    },
]  # fmt: skip

STAND_IN = """
const fs = require("fs"), http = require("http"), path = require("path")
const {HOST, PORT, CONFIG_PATH} = process.env
function seen(what) { try { return what() } catch (error) { return error.code } }
http.createServer((question, answer) => {
  if (question.url === "/health") return answer.end("OK")
  fs.writeFileSync(path.join(__dirname, "../../uploads/letter.txt"), "what somebody gave")
  answer.end(JSON.stringify({
    config: seen(() => fs.readFileSync(CONFIG_PATH, "utf8")),
    secrets: seen(() => fs.readdirSync("/var/lib/appliance/secrets")),
    variables: Object.keys(process.env),
  }))
}).listen(Number(PORT), HOST, () => console.log(JSON.stringify({level: "info", message: "Server listening"})))
"""


def archive(path: Path) -> Path:
    """Of a stand-in that says on ``/seen`` what it has and what it may."""
    files = {str(one): "" for one in BUILT if one != SERVER and one.suffix} | {
        "package.json": json.dumps({"name": "LibreChat", "version": RELEASE}),
        str(SERVER): STAND_IN,
    }
    with tarfile.open(path, "w:gz") as tar:
        for folder in (one for one in BUILT if not one.suffix):
            tar.addfile(_member(f"LibreChat/{folder}", tarfile.DIRTYPE, 0))
        for name, text in files.items():
            data = text.encode()
            tar.addfile(_member(f"LibreChat/{name}", tarfile.REGTYPE, len(data)), io.BytesIO(data))
    return path


def _member(name: str, kind: bytes, size: int) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.size, made.mode = kind, size, 0o755 if kind == tarfile.DIRTYPE else 0o644
    return made
