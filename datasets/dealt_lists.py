"""The lists of tiles beside a dataset, and which of them are as `write_splits` dealt them: lists
that a user wrote or changed are hers."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from utils.contents import Items, Table, Text, read_json
from utils.errors import ConfigError, TileError
from utils.files import digest_of, sha256_of
from utils.outputs import write_json

DEALT = ".splits.json"  # list -> SHA-256 of it as it was dealt, or is being dealt
_OF_EVALUATION = ("val.txt", "test.txt")
FOLDS = "fold-[0-9]*-of-[0-9]*"  # folders of the lists of folds
LEAST_FOLDS, MOST_FOLDS = 3, 20  # one each to test, validate and train


def is_list(path: Path) -> bool:
    """Return whether a path has the name of a list, or of the record of lists; or is a folder of
    a fold, with lists alone."""
    if path.match(FOLDS) and path.is_dir():
        return all(entry.is_file() and is_list(entry) for entry in path.iterdir())
    return path.name in (*_OF_EVALUATION, DEALT) or path.match("osm-train*.txt")


def lists_in(root: Path) -> list[Path]:
    """Return the lists that exist, those of folds last."""
    folders = (folder for folder in sorted(root.glob(FOLDS)) if not folder.is_symlink())
    return [path for folder in (root, *folders)
            for path in (*(folder / name for name in _OF_EVALUATION),
                         *sorted(folder.glob("osm-train*.txt"))) if path.is_file()]


def list_name(root: Path, path: Path) -> str:
    """Return a list's name in messages and in the record: its path below `root`."""
    return path.relative_to(root).as_posix()


def parse_fold(key: str, text: str) -> tuple[int, int]:
    """Return k and n of `k/n`; raise ConfigError if these are no fold."""
    match = re.fullmatch(r"(\d{1,3})/(\d{1,3})", text)
    fold, folds = map(int, match.groups()) if match else (0, 0)
    if not LEAST_FOLDS <= folds <= MOST_FOLDS or not 1 <= fold <= folds:
        raise ConfigError(f"{key}={text}: expected k/n, fold k from 1 to n of n from {LEAST_FOLDS} "
                          f"to {MOST_FOLDS} folds, such as {key}=1/5")
    return fold, folds


def fold_folder(fold: int, folds: int) -> str:
    """Return the folder, beside a dataset's lists, of the lists of one fold."""
    return f"fold-{fold}-of-{folds}"


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
    names = {list_name(root, path): path for path in lists_in(root)}
    return [name for name, path in names.items() if sha256_of(path) not in dealt.get(name, [])]


def _dealt(root: Path) -> dict[str, list[str]]:
    path = root / DEALT
    return {} if not path.is_file() else read_json(
        path, Table(Items(Text())), "remove it; all lists then count as yours", TileError)
