"""Real HTTP servers on the loopback interface, for the tests of what is fetched.

    with Server() as server:
        server.files["/city.tif"] = content          # or server.folder = path
        server.fault("/city.tif", Fault(status=503, times=2))
        http.get(f"{server.url}/city.tif")
        server.requests[0].range

Ranges, If-Range and ETags work as on a file server. A fault is used up after `times` requests.
rasterio holds Python's lock where GDAL looks for overviews and masks, so a server of the same
process cannot answer then: serve GeoTIFFs whose directories all stand at their start, as in COGs.
"""

import hashlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

KINDS = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp",
         ".tif": "image/tiff", ".json": "application/json", ".xml": "text/xml",
         ".html": "text/html", ".osm": "application/xml"}
EVER = 1 << 30


@dataclass
class Fault:
    """What a server does instead of answering."""

    status: int = 200                # of the answer; 200: the file itself
    times: int = 1                   # requests that it strikes
    body: bytes | None = None        # instead of the file
    kind: str = "text/plain"         # of `body`
    headers: dict[str, str] = field(default_factory=dict)
    after: int | None = None         # the connection breaks after so many bytes of the body
    wait_s: float = 0                # before the answer
    pace_s: float = 0                # between two pieces of the body
    skip: int = 0                    # requests before the first that it strikes


@dataclass(frozen=True)
class Request:
    """A request as the server got it."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def range(self) -> str | None:
        return self.headers.get("Range")


class Server:
    """A server in a thread of its own, from `with` to its end.

    Attributes:
        files: path -> content, or a function of the request that returns content and kind.
        folder: whose files are served under paths that `files` lacks; None: none.
        requests: those that came, in order.
        head: status of the answers to HEAD.
        most_at_once: connections that were answered at one time.
    """

    def __init__(self, folder: Path | None = None):
        self.folder = folder
        self.files: dict[str, bytes | Callable[[Request], tuple[bytes, str]]] = {}
        self.ranges = True
        self.etags = True
        self.head = 200
        self.requests: list[Request] = []
        self.most_at_once = 0
        self._faults: list[tuple[re.Pattern, Fault]] = []
        self._lock = threading.Lock()
        self._busy = 0
        self._server = _Quiet(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,),
                                        daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fault(self, path: str, fault: Fault) -> None:
        """Strike requests whose path matches the pattern `path`."""
        self._faults.append((re.compile(path), fault))

    def redirect(self, path: str, to: str) -> None:
        self.fault(path, Fault(302, EVER, b"", headers={"Location": to}))

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    def content(self, request: Request) -> tuple[bytes, str] | None:
        """Return what is served at a path and its kind; None if nothing is."""
        content = self.files.get(request.path)
        if callable(content):
            return content(request)
        if content is None and self.folder is not None:
            file = (self.folder / request.path.lstrip("/")).resolve()
            if file.is_relative_to(self.folder.resolve()) and file.is_file():
                content = file.read_bytes()
        if content is None:
            return None
        return content, KINDS.get(Path(request.path).suffix, "application/octet-stream")

    def next_fault(self, request: Request) -> Fault | None:
        with self._lock:
            self.requests.append(request)
            for pattern, fault in self._faults:
                if not pattern.search(request.path) or fault.times <= 0:
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return fault
        return None

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self._lock:
            self._busy += 1
            self.most_at_once = max(self.most_at_once, self._busy)
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """Say nothing: a client that goes is what tests are about."""


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            with server.counted():
                self._answer()

        do_HEAD = do_POST = do_GET

        def _answer(self) -> None:
            address = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = Request(self.command, unquote(address.path), parse_qs(address.query),
                              dict(self.headers), body)
            fault = server.next_fault(request) or Fault()
            time.sleep(fault.wait_s)
            served = server.content(request)
            if self.command == "HEAD" and server.head != 200:
                self._send(server.head, b"", "text/plain", fault)
            elif fault.body is not None or fault.status >= 300:
                self._send(fault.status, fault.body or b"", fault.kind, fault)
            elif served is None:
                self._send(404, b"Not found", "text/plain", fault)
            else:
                self._send_file(*served, fault)

        def _send_file(self, content: bytes, kind: str, fault: Fault) -> None:
            etag = f'"{hashlib.md5(content).hexdigest()}"'
            fault.headers = {**fault.headers, **({"ETag": etag} if server.etags else {}),
                             **({"Accept-Ranges": "bytes"} if server.ranges else {})}
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            fresh = self.headers.get("If-Range", etag) == etag
            if not (asked and fresh and server.ranges):
                return self._send(200, content, kind, fault)
            first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
            if first >= len(content):
                return self._send(416, b"", "text/plain", fault)
            fault.headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            return self._send(206, content[first:last + 1], kind, fault)

        def _send(self, status: int, content: bytes, kind: str, fault: Fault) -> None:
            try:
                self.send_response(status)
                if status != 204:
                    self.send_header("Content-Type", kind)
                    self.send_header("Content-Length", str(len(content)))
                for name, value in fault.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "HEAD":
                    return
                self._write(content if fault.after is None else content[:fault.after],
                            fault.pace_s)
                if fault.after is not None and fault.after < len(content):
                    self.close_connection = True
                    self.wfile.flush()
                    self.connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # the client has gone
                self.close_connection = True

        def _write(self, content: bytes, pace_s: float) -> None:
            if not pace_s:
                self.wfile.write(content)
                return
            for start in range(0, len(content), 100):
                self.wfile.write(content[start:start + 100])
                time.sleep(pace_s)

    return Handler
