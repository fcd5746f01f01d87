"""The lists of tiles beside a dataset, and which of them are as `write_splits` dealt them: lists
that a user wrote or changed are hers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from utils.contents import Items, Table, Text, read_json
from utils.errors import TileError
from utils.files import digest_of, sha256_of
from utils.outputs import write_json

DEALT = ".splits.json"  # file name -> SHA-256 of the list as it was dealt, or is being dealt
_OF_EVALUATION = ("val.txt", "test.txt")


def is_list(path: Path) -> bool:
    """Return whether a path has the name of a list, or of the record of lists."""
    return path.name in (*_OF_EVALUATION, DEALT) or path.match("osm-train*.txt")


def lists_in(root: Path) -> list[Path]:
    """Return the lists that exist."""
    return [path for path in (*(root / name for name in _OF_EVALUATION),
                              *sorted(root.glob("osm-train*.txt"))) if path.is_file()]


@contextmanager
def dealing(root: Path, lists: Mapping[str, str]) -> Iterator[None]:
    """Record the texts of all lists that the block writes. Where it is stopped, both they and the
    earlier ones count as dealt."""
    before = _dealt(root)
    after = {name: [digest_of(text.encode("utf-8", "surrogateescape"))]
             for name, text in lists.items()}
    write_json(root / DEALT, {name: before.get(name, []) + after.get(name, [])
                              for name in before | after})
    yield
    write_json(root / DEALT, after)


def changed_lists(root: Path) -> list[str]:
    """Return the names of the lists that are not as they were dealt.

    Raises:
        TileError: the record is damaged.
    """
    dealt = _dealt(root)
    return [path.name for path in lists_in(root) if sha256_of(path) not in dealt.get(path.name, [])]


def _dealt(root: Path) -> dict[str, list[str]]:
    path = root / DEALT
    return {} if not path.is_file() else read_json(
        path, Table(Items(Text())), "remove it; all lists then count as yours", TileError)
