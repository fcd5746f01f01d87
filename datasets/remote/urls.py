"""URLs: which text is one, and how messages and records show it without what is secret."""

import re
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

_HIDDEN = "KEY"  # in place of a secret
# names of query values that give access: of map services, and of signed links to cloud storage
_SECRET = re.compile(r"key|token|sig|secret|pass|pwd|auth|cred|session|user"
                     r"|^(tk|ak|sk|k|app_?id|app_?code|account)$", re.IGNORECASE)


def is_url(text: str) -> bool:
    """Return whether a text is an address on the web."""
    return text.lower().startswith(("http://", "https://"))


def short_url(url: str) -> str:
    """Return scheme, host and path of a URL, for a message; any other text as it is."""
    if not is_url(url):
        return url
    address = urlsplit(url)
    return urlunsplit((address.scheme, _host(address.netloc), address.path, "", ""))


def without_secrets(url: str) -> str:
    """Return a URL for a record: no user, no password, and KEY in place of keys, tokens and
    signatures. Any other text stays as it is."""
    if not is_url(url):
        return url
    address = urlsplit(url)
    query = address.query
    pairs = parse_qsl(query, keep_blank_values=True)
    if any(_SECRET.search(name) for name, _ in pairs):
        query = urlencode([(name, _HIDDEN if _SECRET.search(name) else value)
                           for name, value in pairs], safe="/:,{}")
    return urlunsplit((address.scheme, _host(address.netloc), address.path, query, ""))


def _host(netloc: str) -> str:
    return netloc.rpartition("@")[2]
