"""Tables and records on disk: CSV and JSON files that are whole or absent."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils.files import replacing


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Rows under the columns of all of them, in the order in which they first come; what a row
    lacks stays empty."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns_of(rows))
        writer.writeheader()
        writer.writerows(rows)


def columns_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The columns of all rows, in the order in which they first come."""
    return list(dict.fromkeys(name for row in rows for name in row))


def write_json(path: Path, value: Any) -> None:
    """Numbers that are not finite become null."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(_finite(value), indent=2, ensure_ascii=False) + "\n",
                             encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
