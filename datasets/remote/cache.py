"""The folder of imagery that was fetched: a folder for each source, whole pieces in it, and a
record for each area that is complete."""

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from datasets.remote.urls import is_url, without_secrets
from utils.contents import (
    ContentFault,
    Either,
    Fields,
    InnerPath,
    Items,
    Null,
    Text,
    parse_json,
)
from utils.errors import PrepareError
from utils.files import digest_of, replacing
from utils.locks import locked
from utils.remedies import removal

_RECORD = Fields({"raster": InnerPath(), "origin": Text(), "fetched": Text(),
                  "attribution": Either([Text(), Null()]), "notes": Items(Text()),
                  "pieces": Items(InnerPath())}, closed=True)


@dataclass(frozen=True)
class Fetched:
    """Imagery that lies in a source's folder now."""

    raster: str       # what is read of it, inside the folder
    origin: str       # its address, without secrets
    attribution: str | None
    fetched: str      # day
    notes: list[str] = field(default_factory=list)    # what the user should know of it
    pieces: list[str] = field(default_factory=list)   # files that `raster` is made of


def cache_folder(folder: str | None) -> Path:
    """Return the folder of all sources; None: rose/imagery in the user's cache folder."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    return Path(folder).expanduser() if folder else base / "rose" / "imagery"


def today() -> str:
    return time.strftime("%Y-%m-%d")


class SourceFolder:
    """The folder of one source, which is known by its address without secrets: another key or
    signature is the same source."""

    def __init__(self, cache: Path, origin: str):
        self.origin = without_secrets(origin)
        host = urlsplit(origin).hostname if is_url(origin) else Path(origin).stem
        name = re.sub(r"[^\w.-]+", "_", host or "").strip(".")[:60] or "imagery"
        self.path = cache / f"{name}-{digest_of(self.origin)[:12]}"

    @property
    def remedy(self) -> str:
        """What to do to fetch the source anew."""
        return removal(self.path)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from fetching the same source meanwhile."""
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path / ".lock", f"fetching {self.origin}",
                    "choose another imagery_cache=", PrepareError):
            yield

    def find(self, request: dict[str, Any]) -> Fetched | None:
        """Return the record of what was fetched for a request, if all of it is there."""
        try:
            known = Fetched(**parse_json(self._record(request).read_bytes(), _RECORD))
        except (OSError, ContentFault):
            return None
        whole = all((self.path / name).is_file() for name in (known.raster, *known.pieces))
        return known if whole else None

    def record(self, request: dict[str, Any], fetched: Fetched) -> None:
        """Note that everything is there that a request asks for."""
        with replacing(self._record(request)) as temporary:
            temporary.write_text(json.dumps(asdict(fetched), ensure_ascii=False, indent=1),
                                 encoding="utf-8")

    def _record(self, request: dict[str, Any]) -> Path:
        return self.path / f"area-{self.key(request)}.json"

    @staticmethod
    def key(request: dict[str, Any]) -> str:
        """Return a short name for a request."""
        return digest_of(request)[:12]
