"""That a text is nowhere in a running system."""

import os
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp

from appliance.paths import short_folder
from appliance.postgres import find_binaries
from appliance.settings import load_settings
from tests.scenarios.system import System


def files_with(text: bytes, folder: Path) -> list[Path]:
    """Files that hold the text, sockets and what vanishes meanwhile left out."""
    found = []
    for path in (Path(parent, name) for parent, _, names in os.walk(folder) for name in names):
        try:
            if path.is_file() and not path.is_symlink() and text in path.read_bytes():
                found.append(path)
        except OSError:
            continue
    return found


def dump(url: str) -> str:
    """Every table as SQL."""
    parts = urlsplit(url)
    socket = parse_qs(parts.query)["host"][0]
    command = [str(find_binaries() / "pg_dump"), "-h", socket, "-U", "appliance", "appliance"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


async def assert_nowhere(system: System, *texts: str) -> None:
    """In no file, table, metric or log of the system, nor where its programs put files of their own."""
    system.wait_until_no_holds(10)
    settings = load_settings(system.env)
    ray = short_folder(settings.home / "ray", 35)
    places = [system.home, ray, *Path("/tmp").glob("ray*"), *Path("/tmp").glob("torch*"), Path("/dev/shm")]
    sql = dump(settings.sqlalchemy_url)
    async with aiohttp.ClientSession() as http, http.get(system.url + "/metrics") as response:
        metrics = await response.text()
    for text in texts:
        assert [path for place in places for path in files_with(text.encode(), place)] == []
        assert text not in sql
        assert text not in metrics
