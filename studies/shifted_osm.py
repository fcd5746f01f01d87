"""How figures suffer when OSM lies beside the image: all objects of a city are shifted by some
metres, in a direction that the seed draws.

    python -m studies.shifted_osm                          # the last pretraining, the sample city
    python -m studies.shifted_osm data_root=D checkpoint=C shifts=[0,2,5,10,20] modalities=[fine]
    python -m studies.shifted_osm data_root=D while_training=true    # training tiles, too

A model is trained on tiles as they are, once a modality and seed, and measured on reported tiles
with shifted objects. `while_training=true` trains one for every shift, which is the same in all
tiles of a city, so that a model can learn it. `image` reads no objects: the others must beat it.
Every key of the evaluation can be given, too. The same command continues after a stop, and only
reads what is finished.
"""

from studies.command import alone, base_config, check_several
from studies.degraded import OsmStudy, conduct, split_modalities
from studies.keys import SHIFTED_OSM, ShiftedOsmConfig
from utils.cli.command import command


@command(SHIFTED_OSM)
@alone
def main(cfg: ShiftedOsmConfig, rest: list[str]) -> None:
    check_several("shifts", cfg.shifts)
    split_modalities(cfg, "shifted")
    base = base_config(cfg, rest, {"modality": "modalities", "osm_shift": "shifts",
                                   "shift_while_training": "while_training"})
    conduct(OsmStudy(
        "shifted_osm", "Shifted OSM", "osm_shift", "shift", 0.0, sorted(cfg.shifts),
        keys=lambda metres: {"osm_shift": metres}, folder=lambda metres: f"shifted_{metres:g}",
        training={"shift_while_training": True} if cfg.while_training else None,
        subfolder="while_training" if cfg.while_training else "",
        xlabel="metres by which the OSM objects of the {tiles} are shifted"), cfg, rest, base)


if __name__ == "__main__":
    main()
