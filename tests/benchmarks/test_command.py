"""A benchmark's options are the fields of its settings."""

from pathlib import Path
from typing import NamedTuple

from benchmarks.command import parse


class Settings(NamedTuple):
    tiles: int
    batch_size: int = 4
    workers: tuple[int, ...] = (0, 1)
    memory: bool = True
    data: Path | None = None


def test_options_are_fields():
    defaults = Settings._field_defaults
    assert parse("", Settings, defaults, ["--tiles", "3"]) == Settings(3)
    arguments = ["--tiles", "3", "--batch-size", "2", "--workers", "5", "6", "--no-memory",
                 "--data", "D"]
    assert parse("", Settings, defaults, arguments) == Settings(3, 2, (5, 6), False, Path("D"))
