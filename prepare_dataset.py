"""Make tiles of a city: imagery and OSM objects -> images and graphs that train_rose.py reads.

    python prepare_dataset.py raster=city.tif osm=city.osm.pbf out=data/city city=mytown \\
        dry_run=true
    python prepare_dataset.py raster='chips/*.tif' osm=shapefiles/ out=data/city city=mytown \\
        keep_empty=true resolution=0.6
    python prepare_dataset.py raster=city.tif osm=osm.gpkg out=data/city city=mytown text=clip \\
        labels=landuse.tif population=grid.gpkg
    python prepare_dataset.py raster=null osm=city.osm.pbf population=grid.gpkg out=data/osm \\
        city=mytown                                  # OSM objects alone; osm=null: imagery alone
"""

from datasets.keys import PREPARE, PrepareConfig
from utils.cli.command import command


@command(PREPARE)
def main(cfg: PrepareConfig) -> None:
    # libraries of geometry load for seconds, which --help and a mistyped key need not wait for
    from dataclasses import asdict

    from datasets.prepare.pipeline import prepare_tiles

    print(prepare_tiles(**asdict(cfg)))


if __name__ == "__main__":
    main()
