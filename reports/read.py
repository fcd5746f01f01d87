"""The files of a run's folder, read with errors that name the file and the remedy."""

import base64
import csv
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from utils.contents import MOST_BYTES, ContentFault, Fields, Rule, parse_json, parse_yaml
from utils.drawing import webp
from utils.errors import ReportError, one_line, printable

LARGE = 120_000        # bytes from which a PNG is packed again; small maps stay exact
_MIME = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
_COLOUR = re.compile("#[0-9a-fA-F]{6}")
_VIEW = re.compile(r'<svg[^>]* viewBox="0 0 ([\d.]+) ([\d.]+)"')


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Raise ReportError if the block cannot make `what` of `path`."""
    try:
        yield
    except FileNotFoundError as error:
        raise ReportError(f"{path}: missing, expected {what}; run the command that made the "
                          "folder again") from error
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError,
            csv.Error) as error:
        raise ReportError(f"{path}: {type(error).__name__}: {printable(one_line(error))}, expected "
                          f"{what}; run the command that made the folder again") from error
    except ContentFault as fault:
        raise ReportError(f"{path}: {fault}, expected {what}; run the command that made the "
                          "folder again") from fault


def json_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file."""
    return _bounded(path, parse_json)


def yaml_object(path: Path) -> dict[str, Any]:
    """Return the keys and values of a YAML file."""
    return _bounded(path, parse_yaml)


def _bounded(path: Path, parse: Callable[[bytes, Rule], Any]) -> dict[str, Any]:
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"larger than {MOST_BYTES} bytes")
    return parse(data, Fields({}))


def csv_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a table whose header has `columns`, maybe among others."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"no column {missing[0]}")
        return list(reader)


def number(value: float | str | None) -> float:
    """Return a number of a JSON file or of a table; nan if it has none."""
    return math.nan if value is None or value == "" else float(value)


def colour(value: str) -> str:
    """Return a colour #rrggbb of a JSON file; raise ValueError for another text."""
    if not _COLOUR.fullmatch(value):
        raise ValueError(f"colour {value}, not of the form #4a98d3")
    return value


def picture(path: Path, large: int = LARGE) -> tuple[str, int, int]:
    """Return a picture as a data URI, and its width and height in pixels of a page.

    A PNG of more than `large` bytes becomes a WebP if that is smaller. Raise ReportError if there
    is no such picture, or it cannot be read.
    """
    with reading(path, "a picture"):
        if path.suffix == ".svg":
            text = path.read_text(encoding="utf-8")
            if not (view := _VIEW.search(text)):
                raise ValueError("no <svg> with a viewBox")
            width, height = (round(float(side) * 4 / 3) for side in view.groups())  # from points
            return f"data:image/svg+xml,{quote(text, safe='/:;,=+ ()')}", width, height
        data = path.read_bytes()
        try:
            with Image.open(BytesIO(data)) as image:
                kind, size, loaded = image.format, image.size, image.copy()
        except (OSError, Image.DecompressionBombError) as error:
            raise ValueError(one_line(error)) from error
        if kind == "PNG" and len(data) > large and len(packed := webp(loaded)) < len(data):
            data, kind = packed, "WEBP"
        return f"data:{_MIME[kind]};base64,{base64.b64encode(data).decode()}", *size
