"""Extract the features of a pretrained Rose: a vector of each tile and each patch.

    python extract_features.py experiment=sample                # the sample city
    python extract_features.py data_root=D checkpoint=C out=F   # the tiles of a dataset
    python extract_features.py raster=city.tif osm=city.osm.pbf checkpoint=C out=F   # a scene
    python extract_features.py data_root=D checkpoint=C out=F representations=[fused] fusion=fine

F/tiles.parquet has a row for each tile, F/patches_*.tif a pixel for each patch, F/fused_pca.tif
the city in the colours of its features: docs/features.md. The same command continues a run that
was stopped.
"""

from pathlib import Path

from datasets.remote.urls import hide_secrets
from inference.keys import EXTRACT, ExtractConfig
from utils.cli.command import command


@command(EXTRACT)
def main(cfg: ExtractConfig) -> None:
    hide_secrets(cfg.raster, Path(cfg.out, ".hydra"))
    # the libraries of a network load for seconds, which --help and a mistyped key need not wait for
    from inference.features.run import extract, in_words

    print(in_words(cfg.out, extract(cfg)))


if __name__ == "__main__":
    main()
