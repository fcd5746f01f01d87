"""What messages say of servers that cannot be reached or do not give what was asked for."""

import re
from collections.abc import Sequence
from http import HTTPStatus

import requests

from datasets.remote.urls import short_url
from utils.errors import printable

AGAIN = "run the same command again, which fetches only what is missing"
_MISSING = (404, 410)
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_WORDS = 120  # characters of an answer in a message
_TAGS = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)


def unreachable(url: str, error: Exception, read_s: float) -> str:
    """Return the message of a request that got no answer."""
    return f"{short_url(url)}: {_reason_of(error, read_s)}"


def _reason_of(error: Exception, read_s: float) -> str:
    text = f"{type(error).__name__} {error}"
    network = ("look at the network, the address and, where there is one, the proxy "
               "(HTTPS_PROXY)")
    if isinstance(error, requests.TooManyRedirects):
        return "the server sends from one address to the next in a circle; look at the address"
    if isinstance(error, requests.exceptions.InvalidSchema):
        return ("the server sends to an address that is neither http nor https, so nothing was "
                "opened; look at the address")
    if isinstance(error, requests.exceptions.SSLError):
        return ("its certificate is not trusted here; look at the address and the clock, or name "
                "the file of your authority in REQUESTS_CA_BUNDLE")
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy does not answer; look at HTTPS_PROXY and HTTP_PROXY"
    if isinstance(error, ValueError) and not isinstance(error, requests.ConnectionError):
        return "not a valid address; look at it"
    if "NameResolution" in text or "getaddrinfo" in text:
        return f"no host of this name is known; {network}"
    if isinstance(error, requests.Timeout) or "timed out" in text:
        return f"the server is slow: no answer within {read_s:g} s; {AGAIN}"
    if "refused" in text:
        return f"the host refuses the connection; {network}"
    if "unreachable" in text:
        return f"the network cannot be reached; {network}"
    return f"the connection breaks before an answer; {AGAIN}"


def refusal(url: str, status: int, reason: str | None = None, words: str = "",
            retry_after: str = "") -> str:
    """Return the message of an answer that is an error; `words` are its first ones."""
    known = f"{status} {printable(reason or _REASONS.get(status, ''), 60)}".strip()
    shown = f'{short_url(url)}: the server answers {known}{f" ({words})" * bool(words)}; '
    if status in (401, 403):
        return shown + ("it wants a key, or its terms do not allow this: look at the address, its "
                        "key and the terms of the service")
    if status in _MISSING:
        return shown + "there is nothing at this address; look at it"
    if status == 429:
        wait = f" for {retry_after} s" if re.fullmatch(r"\d{1,9}", retry_after) else ""
        return shown + f"it had too many requests from here: wait{wait}, and {AGAIN}"
    if status >= 500:
        return shown + f"it has a fault of its own: wait, and {AGAIN}"
    return shown + "look at the address"


def other_kind(url: str, kind: str, kinds: Sequence[str], words: str) -> str:
    expected = " or ".join(f"{kind}*" if kind.endswith("/") else kind for kind in kinds)
    kind = "a web page" if kind == "text/html" else printable(kind, 60)
    return (f"{short_url(url)}: the server answers with {kind}{f' ({words})' * bool(words)}, "
            f"expected {expected or 'a file'}; open the address in a browser: it may want a login "
            "or a key, or be another one")


def first_words(content: bytes) -> str:
    """Return the first words of a text or a web page, "" of other content."""
    text = content.decode("utf-8", "replace")
    if "\ufffd" in text[:200]:  # no text
        return ""
    return printable(" ".join(_TAGS.sub(" ", text).split()), _WORDS)

