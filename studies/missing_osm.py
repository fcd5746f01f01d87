"""How figures suffer when OSM objects are missing (Rose section 5.5): a share of each tile's
objects is removed, from none to all.

    python -m studies.missing_osm                          # the last pretraining, the sample city
    python -m studies.missing_osm data_root=D checkpoint=C task=seg_sgp seeds=[0,1,2,3,4]
    python -m studies.missing_osm data_root=D problem=pop ratios=[0,0.5,1] modalities=[osm,image]
    python -m studies.missing_osm data_root=D what=smallest          # or layer:building ...
    python -m studies.missing_osm data_root=D while_training=true    # training tiles lack them too

A model is trained on whole tiles, once a modality and seed, and measured on reported tiles that
lack objects. `while_training=true` trains one for every ratio. `image` reads no objects: the
others must beat it. Every key of the evaluation can be given, too. The same command continues
after a stop, and only reads what is finished.
"""

from datasets.osm_degradation import RANDOM, OsmDegradation
from studies.command import alone, base_config, check_several
from studies.degraded import OsmStudy, conduct, split_modalities
from studies.keys import MISSING_OSM, MissingOsmConfig
from utils.cli.command import command


@command(MISSING_OSM)
@alone
def main(cfg: MissingOsmConfig, rest: list[str]) -> None:
    check_several("ratios", cfg.ratios)
    OsmDegradation(1.0, cfg.what)  # refuses what cannot be removed, before the tiles are opened
    split_modalities(cfg, "missing")
    base = base_config(cfg, rest, {"modality": "modalities", "remove_ratio": "ratios",
                                   "remove_what": "what",
                                   "remove_while_training": "while_training"})
    whose = "" if cfg.what == RANDOM else f" ({cfg.what})"
    which = "" if cfg.what == RANDOM else f"_{cfg.what.replace(':', '_')}"
    conduct(OsmStudy(
        "missing_osm", "Missing OSM" + whose, "remove_ratio", "ratio", 0.0, sorted(cfg.ratios),
        keys=lambda ratio: {"remove_ratio": ratio, "remove_what": cfg.what},
        folder=lambda ratio: f"removed_{ratio:g}{which}",
        training={"remove_while_training": True} if cfg.while_training else None,
        subfolder="while_training" if cfg.while_training else "",
        xlabel=f"share of the OSM objects{whose} removed from the {{tiles}}"), cfg, rest, base)


if __name__ == "__main__":
    main()
