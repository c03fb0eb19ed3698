"""What stands behind Caddy in a test: it answers, streams, and writes down who asked. Runs on the hosts' Python.

``python3 stub_service.py PORT FOLDER ADDRESS…``. ``FOLDER/PORT.jsonl`` has a line for each event; while
``FOLDER/PORT.unready`` is there ``/readyz`` says 503.
"""

from __future__ import annotations

import http.server
import json
import sys
import threading
import time
from pathlib import Path


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    port: int
    folder: Path

    def note(self, **event: object) -> None:
        with (self.folder / f"{self.port}.jsonl").open("a") as file:
            file.write(json.dumps({"path": self.path, **event}) + "\n")

    def answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Powered-By", "stub")
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.path == "/readyz":
            self.answer(503 if (self.folder / f"{self.port}.unready").exists() else 200)
        elif self.path.startswith("/v1/stream/"):
            self.stream(float(self.path.rpartition("/")[2]))
        else:
            self.note(asked="GET", headers=dict(self.headers))
            self.answer(200, json.dumps({"port": self.port, "path": self.path}).encode())

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > 32 << 20:
            self.answer(413, b'{"error": {"code": "too_large"}}')
            self.rfile.read(length)
            self.close_connection = True
            return
        body = self.rfile.read(length)
        self.note(asked="POST", bytes=len(body))
        if self.path == "/v1/broken":
            self.close_connection = True
            self.connection.close()
            return
        if self.path.startswith("/v1/pause/"):
            self.pause(float(self.path.rpartition("/")[2]))
            return
        if self.path == "/v1/slow":
            self.slow()
            return
        self.answer(200, json.dumps({"port": self.port, "bytes": len(body)}).encode())

    def slow(self) -> None:
        """No byte for five seconds, unless the client goes."""
        self.connection.settimeout(5)
        try:
            gone = self.connection.recv(1) == b""
        except TimeoutError:
            gone = False
        self.note(gone=gone)
        self.close_connection = True

    def pause(self, seconds: float) -> None:
        """Two lines with nothing between them."""
        self.begin()
        self.line("before")
        time.sleep(seconds)
        self.line("after")
        self.wfile.write(b"0\r\n\r\n")

    def begin(self) -> None:
        """An event stream."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def line(self, word: str) -> None:
        line = f"data: {word}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))

    def stream(self, seconds: float) -> None:
        self.begin()
        try:
            for number in range(int(seconds * 10)):
                self.line(f"{number} {time.time()}")
                time.sleep(0.1)
            self.wfile.write(b"0\r\n\r\n")
            self.note(streamed="to its end")
        except OSError:
            self.note(streamed="until the client was gone")

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Nothing."""


def main(port: int, folder: Path, addresses: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Handler.port, Handler.folder = port, folder
    servers = [http.server.ThreadingHTTPServer((address, port), Handler) for address in addresses]
    for server in servers[1:]:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    servers[0].serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
