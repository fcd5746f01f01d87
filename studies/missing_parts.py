"""How figures suffer when OSM objects are missing that belong together, as they do where mapping
has gaps: a layer, a quarter of the city, the smallest objects, the newest.

    python -m studies.missing_parts                        # the last pretraining, the sample city
    python -m studies.missing_parts data_root=D checkpoint=C problem=pop modalities=[osm,fusion]
    python -m studies.missing_parts data_root=D parts=[layer:road,layer:school,quarter:north_west]

A model is trained on whole tiles, once a modality and seed, and measured on reported tiles that
lack one part. A layer is that of the table of layers, or a tag value. The table says which share of
the reported tiles' objects is missing; `random` removes as many as `smallest`. `image` reads no
objects: the others must beat it. Every key of the evaluation can be given, too. The same command
continues after a stop, and only reads what is finished.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from datasets.osm_degradation import (
    LAYER,
    NEWEST,
    QUARTER,
    QUARTERS,
    RANDOM,
    SMALLEST,
    OsmDegradation,
)
from studies.command import alone, base_config, check_several
from studies.degraded import OsmStudy, conduct, split_modalities
from studies.keys import MISSING_PARTS, MissingPartsConfig
from utils.cli.command import command

if TYPE_CHECKING:
    from datasets import TileDataset

NOTHING = "nothing"
_SHARES = (SMALLEST, NEWEST, RANDOM)  # parts of which `share` is removed


@command(MISSING_PARTS)
@alone
def main(cfg: MissingPartsConfig, rest: list[str]) -> None:
    if cfg.parts is not None:
        check_several("parts", cfg.parts)
        for part in cfg.parts:
            OsmDegradation(1.0, part)  # refuses what is none, before the tiles are opened
    reading, _ = split_modalities(cfg, "missing")
    base = base_config(cfg, rest, {"modality": "modalities", "remove_ratio": "share",
                                   "remove_what": "parts", "remove_while_training": "parts"})
    # these import torch and timm, for which --help and a mistyped key need not wait
    from dataclasses import replace

    from studies.grid import set_up

    folds = [f"{fold}/{cfg.folds}" for fold in range(1, cfg.folds + 1)] if cfg.folds else [None]
    setups = [set_up(replace(base, modality=reading[0], fold=fold)) for fold in folds]
    missing = missing_shares(setups[0].dataset, [
        index for setup in setups for index in setup.lists[setup.reported]], cfg)
    conduct(OsmStudy(
        "missing_parts", "Missing parts of OSM", "removed", "part", NOTHING, list(missing),
        keys=lambda part: keys_of(part, cfg.share),
        folder=lambda part: f"without_{part.replace(':', '_')}"
        + (f"_{cfg.share:g}" if part in _SHARES else ""),
        training=None, xlabel="OSM objects removed from the {tiles}", categorical=True,
        also=lambda part: {"missing": f"{missing.get(part, 0):.1%}"}), cfg, rest, base)


def keys_of(part: str, share: float) -> dict[str, Any]:
    """Return the keys of the evaluation that remove a part."""
    return {"remove_what": part, "remove_ratio": share if part in _SHARES else 1.0}


def missing_shares(dataset: "TileDataset", indices: Sequence[int],
                   cfg: MissingPartsConfig) -> dict[str, float]:
    """Return part -> share of the objects of the tiles `indices` that is missing without it: of the
    parts asked for, or of all by which some tile loses an object."""
    from datasets.osm_degrader import layers_of

    if cfg.parts is not None:
        return {part: missing_share(dataset, indices, part, cfg.share) for part in cfg.parts}
    parts = [*(f"{LAYER}:{name}" for name in layers_of(dataset)),
             *(f"{QUARTER}:{name}" for name in QUARTERS), *_SHARES]
    if any(dataset.newness(index) is None for index in indices):
        parts.remove(NEWEST)
        print(f"note: {dataset.root}: {NEWEST} is left out, as the tiles do not say when their "
              "objects were mapped")
    shares = {part: missing_share(dataset, indices, part, cfg.share) for part in parts}
    return {part: share for part, share in shares.items() if share}


def missing_share(dataset: "TileDataset", indices: Sequence[int], part: str,
                  share: float) -> float:
    """Return the share of the objects of the tiles `indices` that are missing without a part."""
    from datasets.osm_degrader import OsmDegrader

    removal = keys_of(part, share)
    degrade = OsmDegrader(dataset, OsmDegradation(removal["remove_ratio"], part), indices)
    graphs = {index: dataset.store.graph(index, dataset.node_width) for index in indices}
    whole = sum(len(graph.x) for graph in graphs.values())
    left = sum(len(degrade(index, graph).x) for index, graph in graphs.items())
    return 1 - left / whole if whole else 0.0


if __name__ == "__main__":
    main()
