"""URLs: which text is one, and how messages and records show it without what is secret."""

import re
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from utils.files import replacing

_HIDDEN = "KEY"  # in place of a secret
# names of query values that give access: of map services, and of signed links to cloud storage
_SECRET = re.compile(r"key|token|sig|secret|pass|pwd|auth|cred|session|user"
                     r"|^(tk|ak|sk|k|app_?id|app_?code|account)$", re.IGNORECASE)
# of signed links alone: until when they hold, and for whom
_SIGNATURE = re.compile(r"^(sig|signature|x-(amz|goog)-signature)$", re.IGNORECASE)
_SIGNED = re.compile(r"^(x-(amz|goog)-.*|expires|s[etvrp]|spr|sk(oid|tid|t|e|s|v))$",
                     re.IGNORECASE)
_START = re.compile(r"[a-z][a-z0-9+]*://", re.IGNORECASE)
CHOICE = re.compile(r",(layer|tilematrixset|style)=([^,]*)")  # after the URL of a map service


def is_url(text: str) -> bool:
    """Return whether a text is an address on the web."""
    return text.lower().startswith(("http://", "https://"))


def is_valid(url: str) -> bool:
    """Return whether a URL has a form that can be read, and a host."""
    try:
        return bool(urlsplit(url).hostname)
    except ValueError:
        return False


def short_url(url: str) -> str:
    """Return scheme, host and path of a URL, for a message; any other text as it is."""
    before, address, _ = _parts(url)
    if not is_valid(address):
        return before + re.sub("//[^/@]*@", "//", address.partition("?")[0])
    parts = urlsplit(address)
    return before + urlunsplit((parts.scheme, _host(parts.netloc), parts.path, "", ""))


def without_secrets(url: str) -> str:
    """Return a URL for a record: no user, no password, and KEY in place of keys, tokens and
    signatures, also of a URL in its query. Any other text stays as it is."""
    before, address, choice = _parts(url)
    if not is_valid(address):
        return short_url(url)
    parts = urlsplit(address)
    query, pairs = parts.query, parse_qsl(parts.query, keep_blank_values=True)
    signed = any(_SIGNATURE.search(name) for name, _ in pairs)
    shown = [(name, _HIDDEN if _SECRET.search(name) or (signed and _SIGNED.search(name))
              else without_secrets(value)) for name, value in pairs]
    if shown != pairs:
        query = urlencode(shown, safe="/:,{}")
    return before + urlunsplit((parts.scheme, _host(parts.netloc), parts.path, query, "")) + choice


def hide_secrets(url: str | None, folder: Path) -> None:
    """Put the form for records in place of a URL in the files of a folder, such as Hydra's."""
    if url is None or (shown := without_secrets(url)) == url:
        return
    for path in folder.glob("*.yaml"):
        content = path.read_text("utf-8")
        if url in content:
            with replacing(path) as temporary:
                temporary.write_text(content.replace(url, shown), encoding="utf-8")


def _parts(text: str) -> tuple[str, str, str]:
    """Return what stands before a URL, such as WMTS: or /vsicurl/, the URL, "" if there is none,
    and the choice of a layer after it."""
    start = _START.search(text)
    if not start:
        return text, "", ""
    choice = CHOICE.search(text, start.end())
    end = choice.start() if choice else len(text)
    return text[:start.start()], text[start.start():end], text[end:]


def _host(netloc: str) -> str:
    return netloc.rpartition("@")[2]
