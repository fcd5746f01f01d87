"""Calls of extract_features.py, and what they leave."""

from pathlib import Path

from inference.features.run import extract
from inference.keys import EXTRACT
from utils.cli.compose import read

SMALL = ["num_workers=0", "accelerator=cpu", "batch_size=2"]
UTM = {"crs": "EPSG:32633", "transform": [0.5, 0, 400000, 0, -0.5, 5800000],
       "raster_size": [700, 500], "tile_px": 224, "stride": 224,
       "metres_per_pixel": [0.5, 0.5]}


def run(checkpoint: Path, out: Path, *overrides: str) -> dict:
    return extract(read(EXTRACT, *SMALL, f"checkpoint={checkpoint}", f"out={out}", *overrides))
