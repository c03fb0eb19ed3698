"""A chat on a host without LibreChat: a stand-in of its release, and the wall around it."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from appliance.librechat import RELEASE
from appliance.librechat.running.release import BUILT, SERVER

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
