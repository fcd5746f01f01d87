"""Files of the Hugging Face hub: whether it can be reached, and whether they are as downloaded."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from huggingface_hub import constants

from utils.errors import PrepareError, one_line
from utils.files import sha256_of

_PATIENCE = 4  # seconds to reach a host


def unreachable(url: str) -> str | None:
    """Return in seconds why the host of a URL, or its proxy, cannot be reached; None if it can."""
    target, proxies = urlsplit(url), getproxies()
    proxy = proxies.get(target.scheme) or proxies.get("all")
    if proxy and not proxy_bypass(target.hostname):
        target = urlsplit(proxy)
    if not target.hostname:
        return None
    address = target.hostname, target.port or (80 if target.scheme == "http" else 443)
    fault = [f"no answer within {_PATIENCE} s"]

    def connect() -> None:
        try:
            socket.create_connection(address, _PATIENCE).close()
            fault.clear()
        except OSError as error:
            fault[0] = one_line(error)

    # looking up the host's address has no timeout
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return f"{target.hostname} cannot be reached: {fault[0]}" if fault else None


@contextmanager
def hub_offline() -> Iterator[None]:
    """Make the hub answer from its cache alone; else it retries and logs each attempt."""
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def check_stored(path: Path) -> None:
    """Raise PrepareError if a large file of the hub's cache is not what was downloaded."""
    if _is_named_by_checksum(path.resolve()):
        checked_sha256(path)


def checked_sha256(path: Path, key: str = "text.weights") -> str:
    """Return the SHA-256 of a file; raise PrepareError if it cannot be read, or if it is a large
    file of the hub's cache, where its name is its checksum, and is not what was downloaded."""
    checksum, stored = sha256_readable(path, key), path.resolve()
    if _is_named_by_checksum(stored) and checksum != stored.name:
        raise PrepareError(f"{path}: its checksum is not that of its name in the cache: the file "
                           f"is damaged; remove {stored}, and it is downloaded again")
    return checksum


def _is_named_by_checksum(stored: Path) -> bool:
    return stored.parent.name == "blobs" and bool(re.fullmatch("[0-9a-f]{64}", stored.name))


def sha256_readable(path: Path, key: str = "text.weights") -> str:
    """Return the SHA-256 of a file; raise PrepareError if it cannot be read."""
    try:
        return sha256_of(path)
    except OSError as error:
        raise PrepareError(f"{path}: cannot be read ({one_line(error)}); give a readable file of "
                           f"weights as {key}=") from error
