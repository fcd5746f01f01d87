"""Tables and records on disk: CSV and JSON files that are whole or absent."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils.files import replacing


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows under the columns of all of them; what a row lacks stays empty."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns_of(rows))
        writer.writeheader()
        writer.writerows(rows)


def columns_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the columns of all rows, in the order of their first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON; numbers that are not finite become null."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(_finite(value), indent=2, ensure_ascii=False) + "\n",
                             encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
