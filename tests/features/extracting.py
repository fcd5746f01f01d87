"""Calls of extract_features.py, and what they leave."""

from pathlib import Path

from models import build_rose
from utils.checkpoint import save_checkpoint
from utils.cli import read_config
from utils.config import ExtractConfig
from utils.features.job import extract

SMALL = ["num_workers=0", "accelerator=cpu", "batch_size=2"]
UTM = {"crs": "EPSG:32633", "transform": [0.5, 0, 400000, 0, -0.5, 5800000], "raster_size": [700, 500], "tile_px": 224, "stride": 224,
       "metres_per_pixel": [0.5, 0.5]}


def run(checkpoint: Path, out: Path, *overrides: str) -> dict:
    return extract(read_config("extract_features", ExtractConfig, [*SMALL, f"checkpoint={checkpoint}", f"out={out}", *overrides]))


def save_pretrained(path: Path, trained_on: dict) -> None:
    """The checkpoint of a network that knows its tiles."""
    build = {"image_encoder": "test_vit"}
    save_checkpoint(path, {"model": build_rose(**build).state_dict(), "build": build, "trained_on": trained_on})
