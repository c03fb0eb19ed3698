"""Small programs under the real supervisor: `python -m tests.appliance.small_system HOME PORT PART...`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from appliance.settings import load_settings
from appliance.supervisor.instance import AddressError, AlreadyRunningError
from appliance.supervisor.keeper import Part
from appliance.supervisor.launch import System, launch

STEADY = "import time; time.sleep(600)"
FAILING = "import sys; sys.exit(3)"
# Leaves its group and its parent, and does not hear SIGTERM: the worst that Ray and vLLM do.
STUBBORN_CHILD = "import os, signal, time; os.setsid(); signal.signal(15, signal.SIG_IGN); time.sleep(600)"
PARENT = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, '-c', {STUBBORN_CHILD!r}, sys.argv[1], 'child'])
time.sleep(600)
"""
WEB = """
import socket, sys
listener = socket.socket(fileno=int(sys.argv[2]))
while True:
    connection, _ = listener.accept()
    connection.recv(1000)
    connection.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\nhello')
    connection.close()
"""
PROGRAMS = {"steady": STEADY, "leaning": STEADY, "failing": FAILING, "parent": PARENT, "web": WEB}


class SmallSystem(System):
    """Its parts are those that the command line names; each has the home in its arguments, to be found by."""

    has_site = False

    async def start(self) -> None:
        for name in sys.argv[3:]:
            fds = (self.listeners.api.fileno(),) if name == "web" else ()
            arguments = (str(self.settings.home), *map(str, fds), name)
            command = (sys.executable, "-c", PROGRAMS[name], *arguments)
            log = self.settings.logs / f"{name}.log"
            needs = tuple(self.keepers) if name == "leaning" else ()
            self.keep(Part(name, command, self.env, log, is_ready, needs, pass_fds=fds))
        self.screen.say("all parts are started")


async def is_ready() -> bool:
    return True


def main() -> int:
    home, port = sys.argv[1:3]
    settings = load_settings({"APPLIANCE_HOME": home, "PORT": port})
    try:
        return launch(settings, dict(os.environ, PYTHONPATH=str(Path.cwd())), SmallSystem)
    except (AlreadyRunningError, AddressError) as error:
        sys.stdout.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
