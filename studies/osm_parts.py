"""What a model takes from OSM: the geometry of objects, their tags, or both.

    python -m studies.osm_parts                            # the last pretraining, the sample city
    python -m studies.osm_parts data_root=D checkpoint=C problem=pop modalities=[osm,fusion]
    python -m studies.osm_parts data_root=D mode=scratch reads=[geometry,tags]

For each modality that reads OSM objects and each of `reads`, a model is trained and reported on
tiles whose objects have lost the rest: `geometry` knows where and how large objects are and how
they meet, but not what they are; `tags` knows what there is in a tile, but not where. A pretrained
network has seen both. `image` reads no objects: the others must beat it. Every key of the
evaluation can be given, too. The same command continues after a stop, and only reads what is
finished.
"""

from datasets.osm_degradation import READS
from studies.command import alone, base_config, check_several
from studies.degraded import OsmStudy, conduct, split_modalities
from studies.keys import OSM_PARTS, OsmPartsConfig
from utils.cli.command import command
from utils.errors import ConfigError


@command(OSM_PARTS)
@alone
def main(cfg: OsmPartsConfig, rest: list[str]) -> None:
    check_several("reads", cfg.reads)
    if wrong := [part for part in cfg.reads if part not in READS]:
        raise ConfigError(f"reads=[{','.join(cfg.reads)}]: OSM objects have no {wrong[0]}; choose "
                          f"among {', '.join(READS)}")
    split_modalities(cfg, "read in part")
    base = base_config(cfg, rest, {"modality": "modalities", "osm_reads": "reads"})
    conduct(OsmStudy(
        "osm_parts", "Parts of OSM", "osm_reads", "part", READS[0], cfg.reads,
        keys=lambda part: {"osm_reads": part}, folder=lambda part: f"{part}_alone", training={},
        xlabel="what is read of the OSM objects of the {tiles}", categorical=True),
        cfg, rest, base)


if __name__ == "__main__":
    main()
