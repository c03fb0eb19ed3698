"""A repository like MongoDB's own, for hosts that cannot reach it.

Its server is SecantusDB, which asks for passwords as MongoDB does; its programs do what ours call, with the
environment that these tests run in (``restoring.binds``).
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.hosts.restoring import PYTHON
from tests.hosts.stub_repository import forget_agent, gpg, make_key, now
from tests.hosts.systems import system

COMPONENTS = {"bookworm": "main", "noble": "multiverse"}
"""As MongoDB names them."""

INTERPRETER = f"#!/usr/bin/env -S {PYTHON}\n"

MONGOD = """
import os, signal, threading
from pymongo import MongoClient
from secantus import SecantusDBServer

DATA = "/var/lib/mongodb/data"
off = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: off.set())
if not os.path.exists(DATA):  # MongoDB lets the first user be made without a password
    with SecantusDBServer(storage_path=DATA, durable=True) as server:
        MongoClient(server.uri).admin.command("createUser", "first", pwd="first", roles=["root"])
with SecantusDBServer(port=27017, storage_path=DATA, require_auth=True, durable=True):
    off.wait()
"""

MONGOSH = """
import sys
from pathlib import Path
from pymongo import MongoClient
from pymongo.errors import OperationFailure

folder = Path(sys.argv[-1]).parent
word = {name: (folder / name).read_text().strip() for name in ("admin", "chat")}
made = False
try:
    MongoClient("127.0.0.1", username="admin", password=word["admin"]).admin.command("usersInfo", 1)
except OperationFailure:
    first = MongoClient("127.0.0.1", username="first", password="first")
    first.admin.command("createUser", "admin", pwd=word["admin"], roles=["root"])
    made = True
client = MongoClient("127.0.0.1", username="admin", password=word["admin"])
if not client.LibreChat.command("usersInfo", "chat")["users"]:
    roles = [{"role": "dbOwner", "db": "LibreChat"}]
    client.LibreChat.command("createUser", "chat", pwd=word["chat"], roles=roles)
    made = True
print("made" if made else "as it was")
"""

DATABASE = """
import sys
from bson import decode_file_iter, encode
from pymongo import MongoClient

(config,) = (one.partition("=")[2] for one in sys.argv if one.startswith("--config="))
uri = open(config).read().strip().removeprefix('uri: "').removesuffix('"')
database = MongoClient(uri).get_default_database()
"""

MONGODUMP = (
    DATABASE
    + """
sys.stdout.buffer.write(encode({"header": "as mongodump writes one, of an empty database too"}))
for name in sorted(database.list_collection_names()):
    for document in database[name].find():
        sys.stdout.buffer.write(encode({"collection": name, "document": document}))
"""
)

MONGORESTORE = (
    DATABASE
    + """
for name in database.list_collection_names():
    database[name].drop()
_, *documents = decode_file_iter(sys.stdin.buffer)
for one in documents:
    database[one["collection"]].insert_one(one["document"])
"""
)

UNIT = """[Service]
User=mongodb
ExecStart=/usr/bin/mongod
[Install]
WantedBy=multi-user.target
"""

POSTINST = """#!/bin/sh
set -e
id mongodb > /dev/null 2>&1 || useradd --system --home-dir /var/lib/mongodb mongodb
install -d -o mongodb -g mongodb /var/lib/mongodb
"""

PACKAGES: Mapping[str, Mapping[str, tuple[str, int]]] = {
    "mongodb-org-server": {
        "DEBIAN/postinst": (POSTINST, 0o755),
        "usr/bin/mongod": (INTERPRETER + MONGOD, 0o755),
        "lib/systemd/system/mongod.service": (UNIT, 0o644),
    },
    "mongodb-mongosh": {"usr/bin/mongosh": (INTERPRETER + MONGOSH, 0o755)},
    "mongodb-database-tools": {
        "usr/bin/mongodump": (INTERPRETER + MONGODUMP, 0o755),
        "usr/bin/mongorestore": (INTERPRETER + MONGORESTORE, 0o755),
    },
}


def make_repository(folder: Path) -> str:
    """The fingerprint of the key that signs it, which lies there as ``key.pub``."""
    name, component = f"{system().suite}/mongodb-org/8.0", COMPONENTS[system().suite]
    suite = folder / "dists" / name
    index = suite / component / "binary-amd64/Packages"
    index.parent.mkdir(parents=True)
    index.write_text("\n".join(_package(folder, one) for one in PACKAGES))
    digest = hashlib.sha256(index.read_bytes()).hexdigest()
    (suite / "Release").write_text(
        f"Suite: {name}\nComponents: {component}\nArchitectures: amd64\nDate: {now()}\n"
        f"SHA256:\n {digest} {index.stat().st_size} {index.relative_to(suite)}\n"
    )
    fingerprint = make_key(folder)
    gpg(folder, "--clearsign", "--output", suite / "InRelease", suite / "Release")
    forget_agent(folder)
    return fingerprint


def _package(folder: Path, name: str) -> str:
    """Its entry in the index."""
    tree = folder / "trees" / name
    control = f"Package: {name}\nVersion: 8.0.0\nArchitecture: all\nMaintainer: nobody\nDescription: a stand-in\n"
    for path, (content, mode) in {**PACKAGES[name], "DEBIAN/control": (control, 0o644)}.items():
        file = tree / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        file.chmod(mode)
    package = folder / f"{name}.deb"
    subprocess.run(
        ["dpkg-deb", "--build", "--root-owner-group", "-Znone", str(tree), str(package)],
        check=True,
        capture_output=True,
    )
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    return f"{control}Filename: ./{package.name}\nSize: {package.stat().st_size}\nSHA256: {digest}\n"
