"""A loopback HTTP server that misbehaves on purpose and counts its requests."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class BadServer:
    """Answers each path with a list of behaviours, one per request; the last one repeats.

    Behaviours: bytes (200 with this body), an int (this status), ``("cut", body)`` (announces the whole body,
    sends half, closes), ``("cut chunked", body)`` (the same without a length), ``("stall", seconds)``
    (headers, then silence), ``("slow", body)`` (a few bytes at a time), ``("redirect", path)``.
    """

    def __init__(self) -> None:
        self.behaviours: dict[str, list[object]] = {}
        self.requests: Counter[str] = Counter()
        self.port = 0

    def answer(self, path: str, *behaviours: object) -> str:
        """Set the behaviours of a path and return its URL."""
        self.behaviours[path] = list(behaviours)
        return f"http://127.0.0.1:{self.port}{path}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    plan: BadServer

    def log_message(self, *args: object) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        listed = self.plan.behaviours.get(path, [404])
        behaviour = listed[min(self.plan.requests[path], len(listed) - 1)]
        self.plan.requests[path] += 1
        self.close_connection = True
        if isinstance(behaviour, int):
            self.send_error(behaviour)
        elif isinstance(behaviour, bytes):
            self._start(200, len(behaviour))
            self.wfile.write(behaviour)
        else:
            kind, value = behaviour  # type: ignore[misc]
            getattr(self, "_" + kind.replace(" ", "_"))(value)

    def _start(self, status: int, length: int | None, **headers: str) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Connection", "close")
        self.end_headers()

    def _cut(self, body: bytes) -> None:
        self._start(200, len(body))
        self.wfile.write(body[: len(body) // 2])

    def _cut_chunked(self, body: bytes) -> None:
        self._start(200, None, Transfer_Encoding="chunked")
        half = body[: len(body) // 2]
        self.wfile.write(f"{len(half):x}\r\n".encode() + half + b"\r\n")

    def _stall(self, seconds: float) -> None:
        self._start(200, 100)
        self.wfile.flush()
        time.sleep(seconds)

    def _slow(self, body: bytes) -> None:
        self._start(200, len(body))
        step = max(1, len(body) // 5)
        for i in range(0, len(body), step):
            self.wfile.write(body[i : i + step])
            self.wfile.flush()
            time.sleep(0.05)

    def _redirect(self, path: str) -> None:
        self._start(302, 0, Location=path)


@contextmanager
def bad_server() -> Iterator[BadServer]:
    """Run a :class:`BadServer` on a free loopback port."""
    plan = BadServer()
    handler = type("Handler", (_Handler,), {"plan": plan})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        plan.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield plan
        finally:
            server.shutdown()
            thread.join()
