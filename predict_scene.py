"""Map a whole city with a fine-tuned model: imagery and OSM in, a georeferenced map out.

    python predict_scene.py raster=city.tif osm=city.osm.pbf checkpoint=runs/seg out=maps/landuse
    python predict_scene.py raster='chips/*.tif' checkpoint=best.safetensors out=maps/chips \\
        overlap=0.75 probabilities=true
    python predict_scene.py raster=city.tif osm=osm.gpkg checkpoint=runs/pop out=maps/people \\
        zones=districts.gpkg
    python predict_scene.py raster=null osm=osm.gpkg checkpoint=runs/osm_pop out=maps/bare

The same command continues a run that was stopped. docs/maps.md describes the files.
"""

from pathlib import Path

from datasets.remote.urls import hide_secrets
from inference.keys import PREDICT, PredictConfig
from utils.cli.command import command


@command(PREDICT)
def main(cfg: PredictConfig) -> None:
    hide_secrets(cfg.raster, Path(cfg.out, ".hydra"))
    # the libraries of a network load for seconds, which --help and a mistyped key need not wait for
    from inference.maps.run import run

    print(run(cfg))


if __name__ == "__main__":
    main()
