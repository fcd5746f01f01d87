"""Small scenes, and fine-tuned models of no skill to map them with."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
import torch
from affine import Affine

from inference import map_scene
from models import build_rose
from models.decoders import TargetScale
from models.heads import RegressionHead, SegmentationHead
from models.network_file import save_finetuned

CLASSES = ["water", "green", "farmland"]
CRS = {  # pixels of about half a metre in Berlin; those in degrees are not square
    "EPSG:32633": Affine(0.5, 0, 392000, 0, -0.5, 5812000),
    "EPSG:3857": Affine(0.82, 0, 1490000, 0, -0.82, 6890000),
    "EPSG:4326": Affine(8e-6, 0, 13.4, 0, -5e-6, 52.45),
}
UTM = "EPSG:32633"


def write_raster(path: Path, pixels: np.ndarray, crs: str = UTM,
                 nodata: float | None = None) -> Path:
    """Imagery [h, w, 3] uint8 as a GeoTIFF."""
    height, width, _ = pixels.shape
    with rasterio.open(path, "w", driver="GTiff", width=width, height=height, count=3,
                       dtype="uint8", crs=crs, transform=CRS[crs], nodata=nodata) as file:
        file.write(np.moveaxis(pixels, -1, 0))
    return path


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """[h, w, 3] uint8 of 1 and more: 0 may be nodata."""
    return np.random.default_rng(seed).integers(1, 256, (height, width, 3), np.uint8)


def write_objects(path: Path, raster: Path, count: int = 12, move: float = 0) -> Path:
    """Buildings on a raster, `move` widths of it to the east."""
    with rasterio.open(raster) as file:
        left, bottom, right, top = file.bounds
        crs = file.crs
    random = np.random.default_rng(1)
    x = left + (right - left) * (random.uniform(0, 0.9, count) + move)
    y = bottom + (top - bottom) * random.uniform(0, 0.9, count)
    boxes = shapely.box(x, y, x + (right - left) / 20, y + (top - bottom) / 20)
    gpd.GeoDataFrame({"building": ["yes"] * count}, geometry=boxes, crs=crs).to_file(path)
    return path


def write_model(path: Path, problem: str = "segmentation", modality: str = "fusion",
                tiles: dict | None = None, seed: int = 0, weight: float | None = None,
                colours: tuple[str, ...] = (), counted: str = "", **build) -> Path:
    """A fine-tuned model with random weights, as an evaluation leaves it, or with one `weight`
    throughout its decoder; `build` goes to its Rose."""
    torch.manual_seed(seed)
    head = (SegmentationHead(modality, "linear", tuple(CLASSES), colours)
            if problem == "segmentation"
            else RegressionHead(modality, "pop", TargetScale("standard", 100.0, 30.0),
                                counted=counted))
    model = head.build(build_rose("test_vit", **build))
    torch.nn.init.normal_(next(model.decoder.parameters()), std=0.3)
    if weight is not None:
        for parameter in model.decoder.parameters():
            torch.nn.init.constant_(parameter, weight)
    save_finetuned(path, model, head, tiles)
    return path


def predict(raster: Path, checkpoint: Path, out: Path, **keys) -> Path:
    """Map a scene in this process; its folder."""
    return map_scene(raster, checkpoint, out,
                     **{"num_workers": 0, "accelerator": "cpu", "batch_size": 4, **keys}).out


def pixels_of(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read()
