"""One engine behind its guard, without Ray: ``python -m tests.serving.one_engine HOME MODEL-ENTRY``.

Writes its port to ``HOME/port`` when it answers.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from pathlib import Path

from serving.catalog.models import parse_models
from serving.control.deployments import private_server
from serving.engine.start import start
from serving.metering.journal import FileJournal, meters_directory
from serving.metering.meter import MeterBook
from serving.weights.prepare import ready_directory
from tests.serving.conftest import SECRET


async def serve(home: Path, entry: str) -> None:
    (model,) = parse_models({"models": [json.loads(entry)]})
    directory = ready_directory(model.source, model.id, home / "models")
    assert directory is not None
    book = MeterBook(FileJournal(meters_directory(home, model.id), "replica"))
    engine = await start(model, {model.id: directory}, 0, book, SECRET, home=home, version="v")
    server = private_server(engine.guard)
    engine.served_by(server)
    listener = socket.create_server(("127.0.0.1", 0))
    (home / "traits").write_text(json.dumps([engine.traits.input, engine.traits.endpoints]))
    (home / "port").write_text(str(listener.getsockname()[1]))
    await server.serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2]))
