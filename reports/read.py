"""The files of a run's folder, read with errors that name the file and the remedy."""

import base64
import csv
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from utils.errors import ReportError, one_line

LARGE = 120_000        # bytes from which a picture is packed anew
WEBP_QUALITY = 84
_MIME = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Whatever is not as it should be in `path` while the block takes it apart is a ReportError;
    `what`: what it should be."""
    try:
        yield
    except FileNotFoundError as error:
        raise ReportError(f"{path}: missing, expected {what}; run the command that made the "
                          "folder again") from error
    except (ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError,
            csv.Error) as error:
        raise ReportError(f"{path}: {type(error).__name__}: {one_line(error)}, expected {what}; "
                          "run the command that made the folder again") from error


def json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise TypeError(f"holds a {type(value).__name__}")
    return value


def csv_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a table whose header has `columns`, maybe among others."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"no column {missing[0]}")
        return list(reader)


def number(value: float | str | None) -> float:
    """A figure of a JSON file or of a table; nan where there is none."""
    return math.nan if value is None or value == "" else float(value)


def picture(path: Path) -> tuple[str, int, int]:
    """A picture as a data URI, and its width and height; a large PNG becomes a WebP where that is
    smaller.

    Raises:
        ReportError: there is no such picture, or it cannot be read.
    """
    with reading(path, "a picture"):
        data = path.read_bytes()
        try:
            with Image.open(BytesIO(data)) as image:
                kind, size, loaded = image.format, image.size, image.copy()
        except (OSError, Image.DecompressionBombError) as error:
            raise ValueError(one_line(error)) from error
        if kind == "PNG" and len(data) > LARGE:
            packed = BytesIO()
            loaded.convert("RGBA" if "transparency" in loaded.info or loaded.mode in ("RGBA", "LA")
                           else "RGB").save(
                packed, "WEBP", quality=WEBP_QUALITY, method=4)
            if packed.tell() < len(data):
                data, kind = packed.getvalue(), "WEBP"
        return f"data:{_MIME[kind]};base64,{base64.b64encode(data).decode()}", *size
