"""The outputs of attention studies as figures with intervals: how far objects and their places are
tied, by city and recipe."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.tallies import places
from models.rose import MODEL_KEYS
from studies.claim_list import RECIPES
from utils import recipes
from utils.contents import (
    MOST_BYTES,
    Anything,
    Either,
    Fields,
    Items,
    Null,
    Number,
    Table,
    Text,
    read_json,
)
from utils.errors import CheckpointError, ConfigError

ATTENTION, CHANGE = "attention.csv", "change.csv"
_NUMBER = Either([Number(), Null()])
_ADDS = Fields({"norm_ratio": _NUMBER, "varies": _NUMBER}, {"weights": Items([Number(), Number()])})
_STUDY = Fields({"network": Table(Anything()), "cities": Items(Text(), least=1),
                 "fusions": Table(Fields({"lift": _NUMBER}))},
                {"lift": _NUMBER, "adds": Table(_ADDS),
                 "checkpoint_sha256": Text(pattern="[0-9a-f]{64}")})
_REMEDY = "make it again with `python -m studies.attention`"


@dataclass(frozen=True)
class Shares:
    """What objects have on their own boxes, summed by tile, as `sampled_figures` takes it.

    Attributes:
        names: of the tiles.
        cells: int64 [n, 2], of `places`.
        moments: float64 [n, 2], sums over a tile's objects of the share inside the box, and of
            the box's share of the tile.
        model, seed: as of Tallies; not known.
    """

    names: tuple[str, ...]
    cells: np.ndarray
    moments: np.ndarray
    model: str = ""
    seed: int | None = None

    def figures(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """Return {"lift": [...]} of sums of moments [..., 2]: times what chance would give."""
        return {"lift": sums[..., 0] / sums[..., 1]}


@dataclass(frozen=True)
class Association:
    """An attention study: of what network, and its shares of attention and of change."""

    folder: Path
    city: str
    recipe: str
    record: dict[str, Any]
    shares: dict[str, Shares]  # "attention", and the change of each fusion


def attention_runs(folders: Sequence[str]) -> list[Association]:
    """Return the attention studies in folders.

    Raises:
        CheckpointError: one cannot be read.
        ConfigError: two are of the same network and city, which would count as two seeds.
    """
    associations = [_read(Path(folder)) for folder in folders]
    places: set[Path] = set()
    networks: dict[tuple[str, str, str], Path] = {}
    for each in associations:
        place, sha256 = each.folder.resolve(), each.record.get("checkpoint_sha256")
        key = each.city, each.recipe, sha256
        if place in places:
            raise ConfigError(f"attention_runs=[{','.join(folders)}]: {each.folder} is there "
                              "twice, expected different folders; leave one out")
        if sha256 and key in networks:
            raise ConfigError(f"attention_runs=[{','.join(folders)}]: {networks[key]} and "
                              f"{each.folder} are of one network of recipe={each.recipe} in "
                              f"{each.city}, whose checkpoint has the SHA-256 {sha256[:8]}..., "
                              "expected one of another seed; leave one out")
        places.add(place)
        networks[key] = each.folder
    return associations


def _read(folder: Path) -> Association:
    record = read_json(folder / "results.json", _STUDY, _REMEDY, CheckpointError)
    recipe = _recipe_of(folder / "results.json", record["network"])
    changed = {fusion: _shares(folder / CHANGE, "change_share", fusion)
               for fusion in record["fusions"]}
    return Association(folder, ", ".join(record["cities"]), recipe, record,
                       {"attention": _shares(folder / ATTENTION, "attention_share"), **changed})


def _recipe_of(path: Path, network: Mapping[str, Any]) -> str:
    """Return which of the recipes of claims a network is of, by all keys of a recipe that build
    it; one that is not stated is the release's for the authors' weights, and else the method's.
    Raise CheckpointError if it is of none."""
    unstated = recipes.RECIPES["release" if network.get("recipe") == "release" else "rose"]
    own = {key: network.get(key, getattr(unstated, key)) for key in MODEL_KEYS}
    others = {name: {key: value for key, value in own.items()
                     if value != getattr(recipes.RECIPES[name], key)} for name in RECIPES}
    name = min(others, key=lambda each: len(others[each]))
    if others[name]:
        found = ", ".join(f"{key}={value}" for key, value in others[name].items())
        expected = ", ".join(f"{key}={getattr(recipes.RECIPES[name], key)}"
                             for key in others[name])
        raise CheckpointError(f"{path}: its network has {found}, expected {expected}, as of "
                              f"recipe={name}: claims are about {' and '.join(RECIPES)} alone; "
                              "leave this folder out of attention_runs=")
    return name


def _shares(path: Path, column: str, fusion: str | None = None) -> Shares:
    """Return the sums over the objects of each tile in a table, of one fusion if it has several."""
    sums: dict[str, np.ndarray] = {}
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"the file is larger than {MOST_BYTES} bytes")
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                pair = np.array([float(row[column]), float(row["box_share"])])
                if pair[1] > 0 and row.get("fusion") == fusion:
                    sums[row["tile"]] = sums.get(row["tile"], np.zeros(2)) + pair
        if not sums:
            raise ValueError("no object in it has a box")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: cannot be read as a table of objects ({error}), expected "
                              f"the columns tile, box_share and {column}; {_REMEDY}") from error
    names = tuple(sums)
    return Shares(names, places(names, names), np.stack([*sums.values()]))
