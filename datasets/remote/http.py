"""The one way to servers: few connections, patience, bounded answers and errors of one line.

    http = Http()
    answer = http.get(url, kinds=("image/",))
    http.download(url, path)    # resumes what a stopped download left

Only http and https are spoken, also after redirects. A refusal (403, 404) ends at once. Where a
server is busy or fails (429, 5xx), or its answer stops midway, the request is sent again after a
pause, as long as the server asks for.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import requests
import urllib3
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3.exceptions import MaxRetryError, ResponseError
from urllib3.util import Retry

from datasets.remote.http_faults import (
    AGAIN,
    first_words,
    other_kind,
    refusal,
    unreachable,
)
from datasets.remote.urls import is_url, short_url
from utils.contents import ContentFault, Fields, Text, parse_json
from utils.errors import PrepareError, printable
from utils.files import digest_of, replacing

USER_AGENT = "rose/0.1.0 (geospatial pretraining)"
CONNECTIONS = 4
MOST_BYTES = 64 << 20           # of an answer that is held in memory
MOST_DOWNLOAD = 1 << 40         # of one that goes to disk
_CHUNK = 1 << 16
_BUSY = (429, 500, 502, 503, 504)
_PAGE = re.compile(rb"\s*<(!doctype html|html|head|body)\b", re.IGNORECASE)
_PARTIAL = Fields({"url": Text(), "validator": Text()})


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server, and how often to ask."""

    attempts: int = 5              # requests of one answer, while nothing of it comes
    pause_s: float = 1.0           # before the second; doubled before each of the next
    most_pause_s: float = 120.0    # that a server may ask for
    connect_s: float = 20.0
    read_s: float = 60.0           # without a byte
    least_bytes_per_s: float = 200.0  # over read_s; slower counts as stopped


class RemoteError(PrepareError):
    """A server cannot be reached or does not give what was asked for; `status` is that of its
    answer, None without one."""

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Answer:
    """An answer of a server."""

    url: str      # after redirects
    kind: str     # the media type, such as image/png; "" if it does not say
    content: bytes
    headers: Mapping[str, str]


class Http:
    """A session with servers, for several threads.

    Args:
        connections: at most, to one host at a time.
    """

    def __init__(self, connections: int = CONNECTIONS, patience: Patience | None = None):
        self.patience = patience or Patience()
        self.connections = connections
        retry = _Retry(total=self.patience.attempts - 1, read=min(2, self.patience.attempts - 1),
                       status_forcelist=_BUSY, allowed_methods=None, raise_on_status=False,
                       backoff_factor=self.patience.pause_s,
                       backoff_max=self.patience.most_pause_s,
                       retry_after_max=self.patience.most_pause_s)
        self._session = requests.Session()
        self._session.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "identity"})
        self._session.max_redirects = 8
        self._session.adapters.clear()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=connections, pool_block=True,
                                                    max_retries=retry))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def get(self, url: str, *, kinds: Sequence[str] = (), most_bytes: int = MOST_BYTES,
            headers: Mapping[str, str] | None = None) -> Answer:
        """Return the answer of a server, held in memory.

        Args:
            kinds: beginnings of media types that are expected, such as "image/"; an answer without
                a type, or of bytes, is taken, too.
            most_bytes: of the answer.

        Raises:
            RemoteError: no such answer; `status` is the server's.
        """
        for attempt in range(1, self.patience.attempts + 1):
            try:
                with self._answer(url, kinds, headers or {}) as response:
                    content = b"".join(self._body(response, url, kinds, most_bytes))
                return Answer(response.url, _kind(response), content, dict(response.headers))
            except _Stopped as stop:
                self._pause(attempt, url, stop)
        raise AssertionError("the last pause raises")

    def start(self, url: str, count: int = 4096) -> bytes:
        """Return the first bytes of a file, at most `count`; raise RemoteError as `get` does."""
        return self._first(url, count)[0]

    def version(self, url: str) -> str:
        """Return what changes with the content of a file, as far as its server says; raise
        RemoteError as `get` does."""
        headers = self._first(url, 1)[1]
        total = headers.get("Content-Range", "").rpartition("/")[2]
        return " ".join((headers.get("ETag", ""), headers.get("Last-Modified", ""), total))

    def _first(self, url: str, count: int) -> tuple[bytes, Mapping[str, str]]:
        """Return the first bytes of a file and the headers of the answer."""
        for attempt in range(1, self.patience.attempts + 1):
            try:
                with self._answer(url, (), {"Range": f"bytes=0-{count - 1}"}) as response:
                    content = b""
                    for chunk in self._body(response, url, (), MOST_DOWNLOAD):
                        content += chunk
                        if len(content) >= count:
                            break
                return content[:count], response.headers
            except _Stopped as stop:
                self._pause(attempt, url, stop)
        raise AssertionError("the last pause raises")

    def takes_head(self, url: str) -> bool:
        """Return whether a server says the size of a file without sending any of it. Signed
        addresses are for GET alone."""
        try:
            with self._session.head(url, allow_redirects=True, timeout=(
                    self.patience.connect_s, self.patience.read_s)) as response:
                return response.status_code == 200 and bool(_length(response))
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError):
            return False

    def download(self, url: str, path: Path, *, kinds: Sequence[str] = (),
                 most_bytes: int = MOST_DOWNLOAD, data: Mapping[str, str] | None = None,
                 progress: Callable[[int, int | None], Any] | None = None) -> Path:
        """Write the answer of a server to `path`, which is whole or absent.

        What a stopped download left beside `path` is continued if the server says that the file
        is still the same.

        Args:
            kinds, most_bytes: as in `get`.
            data: a form to send by POST; such an answer is never continued.
            progress: receives the bytes that are there, and all, None if the server does not say.

        Raises:
            RemoteError: as in `get`.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = _Partial(path, url)
        attempt = 0
        while True:
            before = partial.size
            try:
                self._continue(partial, kinds, most_bytes, data, progress)
                partial.finish()
                return path
            except _Stopped as stop:
                attempt = 1 if partial.size > before else attempt + 1
                self._pause(attempt, url, stop)

    def _continue(self, partial: "_Partial", kinds: Sequence[str], most_bytes: int,
                  data: Mapping[str, str] | None,
                  progress: Callable[[int, int | None], Any] | None) -> None:
        """Fetch the rest of a file; raise _Stopped if the server stops midway again."""
        headers = {"Accept-Encoding": "gzip"} if data else partial.headers()
        try:
            with self._answer(partial.url, kinds, headers, data) as response:
                start = _start_of(response) if response.status_code == 206 else 0
                if response.status_code == 206 and start != partial.size:
                    partial.discard()
                    raise _Stopped("sends another range than was asked for")
                if start and _validator(response) not in ("", partial.validator):
                    partial.discard()
                    raise _Stopped("has another file now")
                total = _total_of(response, start)
                partial.begin(start, _validator(response) if not data else "")
                with partial.path.open("ab") as file:
                    for chunk in self._body(response, partial.url, kinds, most_bytes - start):
                        file.write(chunk)
                        if progress:
                            progress(file.tell(), total)
        except RemoteError as error:
            if error.status != 416 or not partial.size:
                raise
            partial.discard()  # the file is shorter now
            raise _Stopped("has another file now") from error

    @contextmanager
    def _answer(self, url: str, kinds: Sequence[str], headers: Mapping[str, str],
                data: Mapping[str, str] | None = None) -> Iterator[requests.Response]:
        """Yield a good answer whose body is not read yet; raise RemoteError if it is not good."""
        if not is_url(url):
            raise RemoteError(f"{printable(url)}: not an address that is fetched, expected "
                              "http://... or https://...")
        try:
            response = self._session.request(
                "POST" if data else "GET", url, data=data, headers=dict(headers), stream=True,
                timeout=(self.patience.connect_s, self.patience.read_s))
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            raise RemoteError(unreachable(url, error, self.patience.read_s)) from error
        with response:
            if response.status_code >= 400:
                raise RemoteError(refusal(url, response.status_code, response.reason,
                                          _first_words(response),
                                          response.headers.get("Retry-After", "")),
                                  response.status_code)
            kind = _kind(response)
            if response.status_code != 204 and _is_unexpected(kind, kinds):
                raise RemoteError(other_kind(url, kind, kinds, _first_words(response)))
            yield response

    def _body(self, response: requests.Response, url: str, kinds: Sequence[str],
              most_bytes: int) -> Iterator[bytes]:
        """Yield the body of an answer; raise _Stopped if it ends before its end or hardly comes,
        RemoteError if it is a web page or has too many bytes."""
        announced = _length(response) or 0
        size, started = 0, time.monotonic()
        try:
            while announced <= most_bytes and (chunk := response.raw.read1(
                    _CHUNK, decode_content=True)):
                if not size and _PAGE.match(chunk) and not _takes_pages(kinds):
                    raise RemoteError(other_kind(url, "text/html", kinds, first_words(chunk)))
                size += len(chunk)
                elapsed = time.monotonic() - started
                if (elapsed > self.patience.read_s
                        and size < elapsed * self.patience.least_bytes_per_s):
                    raise _Stopped(f"sends no more than {size / elapsed:.0f} bytes a second")
                if size > most_bytes:
                    break
                yield chunk
        except urllib3.exceptions.ReadTimeoutError as error:
            raise _Stopped(f"sent nothing for {self.patience.read_s:g} s") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            whole = f" of {announced}" if announced else ""
            raise _Stopped(f"stops midway, after {size}{whole} bytes") from error
        if max(size, announced) > most_bytes:
            raise RemoteError(f"{short_url(url)}: the answer has {max(size, announced):,} "
                              f"bytes, expected {most_bytes:,} at most; look at the address")

    def _pause(self, attempt: int, url: str, stop: "_Stopped") -> None:
        """Wait before the next attempt; raise RemoteError if this was the last."""
        if attempt >= self.patience.attempts:
            raise RemoteError(f"{short_url(url)}: the server {stop}, {attempt} times in a row; "
                              f"{AGAIN}") from stop
        time.sleep(min(self.patience.pause_s * 2 ** (attempt - 1), self.patience.most_pause_s))


class _Stopped(Exception):
    """A body ended before its end; the message says how."""


class _Retry(Retry):
    """Retries that tell the user of a longer wait, and end where a server asks for too long a
    one."""

    def increment(self, method: str | None = None, url: str | None = None, response: Any = None,
                  *args: Any, **kwargs: Any) -> "_Retry":
        if response is not None and self.asked(response) > self.retry_after_max:
            raise MaxRetryError(kwargs.get("_pool"), url, ResponseError("a long wait"))
        return super().increment(method, url, response, *args, **kwargs)

    def asked(self, response: Any) -> float:
        """Return how long a server asks to wait, 0 if it does not."""
        text = response.headers.get("Retry-After")
        try:
            return self.new(retry_after_max=1 << 31).parse_retry_after(text) if text else 0
        except urllib3.exceptions.InvalidHeader:
            return 0

    def sleep_for_retry(self, response: Any) -> bool:
        wait = self.asked(response)
        if wait >= 5:
            tqdm.write(f"note: the server is busy ({response.status}) and asks to wait "
                       f"{wait:.0f} s")
        if wait:
            time.sleep(wait)
        return bool(wait)


class _Partial:
    """The file of a download that is not whole, and what it is a part of."""

    def __init__(self, path: Path, url: str):
        self.final, self.url = path, url
        self.path = path.with_name(f".{path.name}.part")
        self._record = path.with_name(f".{path.name}.part.json")
        self._url = digest_of(url.encode())  # a URL may hold keys
        try:
            known = parse_json(self._record.read_bytes(), _PARTIAL)
        except (OSError, ContentFault):
            known = {"url": "", "validator": ""}
        self.validator = known["validator"]
        if known["url"] != self._url or not self.validator:
            self.discard()

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def headers(self) -> dict[str, str]:
        """Return the headers of a request for the rest."""
        if not self.size:
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": self.validator}

    def begin(self, start: int, validator: str) -> None:
        """Keep the first `start` bytes, and note of which file they are."""
        if not start:
            self.discard()
            self.path.touch()
        self.validator = validator
        if validator:
            with replacing(self._record) as temporary:
                temporary.write_text(json.dumps({"url": self._url, "validator": validator}),
                                     encoding="utf-8")

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)

    def finish(self) -> None:
        """Rename the file, which is whole."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        self.path.replace(self.final)
        self._record.unlink(missing_ok=True)


def _kind(response: requests.Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _takes_pages(kinds: Sequence[str]) -> bool:
    return any("text/html".startswith(kind) for kind in kinds)


def _is_unexpected(kind: str, kinds: Sequence[str]) -> bool:
    if kind == "text/html":
        return not _takes_pages(kinds)
    bare = kind in ("", "application/octet-stream", "binary/octet-stream")
    return bool(kinds) and not bare and not kind.startswith(tuple(kinds))


def _validator(response: requests.Response) -> str:
    """Return what says that a file is still the same, "" if the server says nothing of it."""
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get(
        "Last-Modified", "")


def _start_of(response: requests.Response) -> int:
    match = re.match(r"bytes (\d{1,18})-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else -1


def _total_of(response: requests.Response, start: int) -> int | None:
    length = _length(response)
    return None if length is None else start + length


def _length(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if re.fullmatch(r"\d{1,18}", length, re.ASCII) else None


def _first_words(response: requests.Response) -> str:
    """Return the first words of an answer that is not what was asked for."""
    try:
        return first_words(response.raw.read1(4096, decode_content=True))
    except (urllib3.exceptions.HTTPError, OSError):
        return ""
