"""The evaluation on real images, real OSM, real land use and real people, where they are at
hand."""

import csv
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from PIL import Image

from datasets import TileDataset
from datasets.prepare.graph import CONTAINS, WITHIN
from datasets.prepare.pipeline import prepare_tiles
from datasets.stores.release import write_release_tile
from datasets.stores.tile import AREA, CENTROID, CORNERS, GEOMETRY_WIDTH, LABEL, PERIMETER, Tile
from datasets.targets import CLASSES
from datasets.tiles import collate
from evaluation.job import evaluate
from evaluation.keys import REGRESSION, SEGMENTATION
from evaluation.problem import Regression, Segmentation
from models.network_file import NetworkFile
from tests.conftest import SHARED
from tests.geolink_tiles import write_geolink_tiles
from tests.pretrained import save_pretrained
from utils.cli import compose

DATA = Path(os.environ.get("ROSE_REAL_DATA", SHARED / "data"))
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}; set "
                                                          "ROSE_REAL_DATA to the folder that "
                                                          "holds it")
SMALL = ["image_encoder=test_vit", "accelerator=cpu", "num_workers=0", "batch_size=8", "lr=1e-3",
         "lr_multi=10", "epochs=1"]
PROBLEMS = {"seg": (SEGMENTATION, Segmentation), "pop": (REGRESSION, Regression)}


def run(problem: str, root: Path, folder: Path, *overrides: str, drawn: bool = False) -> dict:
    """What an evaluation gives; its pictures, which take most of its time, where they are to be
    `drawn`."""
    program, kind = PROBLEMS[problem]
    cfg = compose.read(program, *SMALL, f"data_root={root}", f"save_path={folder}", *overrides)
    with pytest.MonkeyPatch.context() as patch:
        if not drawn:
            patch.setattr("evaluation.results.save_pictures", lambda *_: None)
        return evaluate(cfg, kind(cfg))


def stored(folder: Path) -> dict:
    """The results of the only seed."""
    return json.loads((folder / "seed_0" / "results.json").read_text())


def predictions(folder: Path) -> dict[str, dict[str, float]]:
    """tile -> what is said of it"""
    with (folder / "seed_0" / "predictions.csv").open() as file:
        return {row.pop("tile"): {name: float(value) for name, value in row.items()}
                for row in csv.DictReader(file)}


def pictures(folder: Path) -> set[str]:
    return {path.stem for path in (folder / "seed_0" / "figures").glob("*.png")}


def write_lists(root: Path, train: Iterable[str], val: Iterable[str], test: Iterable[str]) -> None:
    for file, names in {"osm-train-all": train, "val": val, "test": test}.items():
        (root / f"{file}.txt").write_text("".join(f"{name}.png\n" for name in names))


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def counted(root: Path, folder: Path, labels: dict[str, np.ndarray], classes: int) -> np.ndarray:
    """The confusion matrix of a run's model on a batch of tiles, counted here: [classes, classes],
    rows the truth.

    Args:
        labels: by tile, uint8 [H, W]; values from `classes` on are no class.
    """
    model = NetworkFile(folder / "seed_0" / "best.safetensors").downstream()
    tiles, matrix = TileDataset(root), np.zeros((classes, classes), np.int64)
    with torch.no_grad():
        predicted = model.outputs(*collate([tiles[tiles.names.index(name)]
                                            for name in labels])).argmax(
                                                1).numpy()   # [tiles, H, W]
    truth = np.stack(list(labels.values()))                                         # [tiles, H, W]
    np.add.at(matrix, (truth[truth < classes], predicted[truth < classes]), 1)
    return matrix


def iou(confusion: np.ndarray) -> list[float]:
    """Of each class, nan where neither truth nor prediction has it."""
    united = confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    return [right / union if union else math.nan
            for right, union in zip(confusion.diagonal(), united, strict=True)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A network as a pretraining run leaves it, of random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("runs") / "model_1.tar"
    save_pretrained(path)
    return path


# ----------------------------------------------------- Singapore, Chicago, Shenzhen: land use with
# OSM; 9 and 255 are no class

GEOLINK = "geolink_ufz/ufz_example"
TRAIN, VAL = ("chicago_15008_19040", "singapore_22176_12992",
              "singapore_30912_12320"), ("singapore_22848_10752",)
# 9 is 59 % of the first, 255 is 15 % of the second
TEST = ("chicago_15456_25760", "shenzhen_21504_11200")


@pytest.fixture(scope="module")
def geolink(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("geolink") / "tiles"
    write_geolink_tiles(DATA / GEOLINK, root)
    write_lists(root, TRAIN, VAL, TEST)
    return root


@pytest.fixture(scope="module")
def labels() -> dict[str, np.ndarray]:
    """Of the test tiles, as published."""
    return {name: read(DATA / GEOLINK / "label" / f"{name}.png") for name in TEST}


def test_geolink_graphs_become_roses(geolink):
    graphs = {graph.name: graph for _, graph in TileDataset(geolink)}
    assert [len(graph.x) for graph in graphs.values()] == [11 + 43 + 16, 22 + 43 + 6, 3 + 6, 1 + 3,
                                                           2, 47 + 67 + 47]
    assert all(graph.edge_index.shape[1] for graph in graphs.values())
    outline, water = graphs[TRAIN[1]].x[0], graphs[VAL[0]].x[0]
    assert (outline[AREA].item(), outline[PERIMETER].item()) == pytest.approx((1, 1))
    assert sorted(outline[CORNERS].round(decimals=4).abs().tolist()) == [0] * 4 + [1] * 4
    lake = np.argwhere(read(DATA / GEOLINK / "label" / f"{VAL[0]}.png")
                       == CLASSES.index("water")) / 224    # [pixels, (y, x)]
    assert water[CENTROID].tolist() == pytest.approx(lake.mean(0)[::-1].tolist(), abs=0.02)
    inside = graphs[VAL[0]]
    assert (inside.edge_index.tolist(), inside.edge_attr[:, 0].tolist()) == ([[0, 1], [1, 0]],
                                                                             [WITHIN, CONTAINS])
    tags = torch.cat([graph.x for graph in graphs.values()])
    assert len(tags[:, LABEL].unique()) == len(tags[:, :512].unique(dim=0))


@pytest.mark.parametrize("decoder", ["linear", "mask_transformer"])
@pytest.mark.parametrize("modality", ["image", "fusion", "fine"])
def test_geolink_land_use_in_every_modality(geolink, labels, checkpoint, tmp_path, modality,
                                            decoder):
    drawn = (modality, decoder) == ("fusion", "linear")
    found = run("seg", geolink, tmp_path, f"checkpoint={checkpoint}", f"modality={modality}",
                f"decoder={decoder}", drawn=drawn)
    confusion = counted(geolink, tmp_path, labels, len(CLASSES))
    assert stored(tmp_path)["confusion"] == confusion.tolist()
    assert confusion.sum(1).tolist() == sum(np.bincount(label[label < 9], minlength=9)
                                            for label in labels.values()).tolist()
    assert [found["mean"][f"iou_{name}"] for name in CLASSES] == pytest.approx(iou(confusion),
                                                                               nan_ok=True)
    assert found["mean"]["miou"] == pytest.approx(np.nanmean(iou(confusion)))
    assert {name: tile["known_pixels"]
            for name, tile in predictions(tmp_path).items()} == {TEST[0]: 50176 - 29562,
                                                                 TEST[1]: 50176 - 7689}
    assert pictures(tmp_path) == ({"confusion", "tiles", "error_map", "curves", "reliability"}
                                  if drawn else set())


@pytest.mark.parametrize("mode", ["linear", "scratch"])
def test_pixels_of_no_class_change_nothing(geolink, checkpoint, tmp_path, mode):
    """Whatever stands for "no class", and with a probe's cached features too: the same losses and
    figures to the bit."""
    other = tmp_path / "tiles"
    write_geolink_tiles(DATA / GEOLINK, other)
    write_lists(other, TRAIN, VAL, TEST)
    swapped = np.arange(256, dtype=np.uint8)
    swapped[[9, 255]] = 255, 9
    for path in (other / "label").iterdir():
        Image.fromarray(swapped[read(path)]).save(path)
    source = f"checkpoint={checkpoint}" if mode == "linear" else "checkpoint=null"
    for root, folder in ((geolink, "as_published"), (other, "swapped")):
        run("seg", root, tmp_path / folder, source, f"mode={mode}")
    for file in ("metrics.csv", "predictions.csv"):
        one, there = ((tmp_path / folder / "seed_0" / file).read_text()
                      for folder in ("as_published", "swapped"))
        assert one == there
    assert stored(tmp_path / "as_published")["confusion"] == stored(tmp_path / "swapped")[
        "confusion"]


# ----------------------------------------------------- Dubai: six classes of its own, no OSM

COLOURS = {"building": 0x3C1098, "land": 0x8429F6, "road": 0x6EC1E4, "vegetation": 0xFEDD3A,
           "water": 0xE2A929, "unlabelled": 0x9B9B9B}
# 797 x 644, 510 x 544, 682 x 658 pixels
IMAGES = ("Tile 1/{}/image_part_009", "Tile 2/{}/image_part_005", "Tile 3/{}/image_part_006")


def dubai_label(path: Path) -> np.ndarray:
    """Places in COLOURS, 255 where a pixel has another colour: uint8 [H, W]"""
    with Image.open(path) as image:
        red, green, blue = np.moveaxis(np.array(image.convert("RGB"), np.int32), 2, 0)
    colour = red << 16 | green << 8 | blue
    return np.select([colour == value for value in COLOURS.values()], range(len(COLOURS)),
                     255).astype(np.uint8)


def cut(array: np.ndarray, side: int = 224) -> dict[tuple[int, int], np.ndarray]:
    """(column, row) -> the whole squares of a picture [H, W, ...], from its top left corner on."""
    return {(column, row): array[row * side:(row + 1) * side, column * side:(column + 1) * side]
            for row in range(array.shape[0] // side) for column in range(array.shape[1] // side)}


def empty_tile(name: str, image: np.ndarray, land_use: np.ndarray) -> Tile:
    """A tile without an OSM object, of an image [H, W, 3]."""
    none = np.zeros(0, np.int64)
    return Tile(name, image.transpose(2, 0, 1), np.zeros((0, GEOMETRY_WIDTH), np.float32), none,
                none, np.zeros((2, 0), np.int64),
                none.astype(np.float32), land_use)


@pytest.fixture(scope="module")
def dubai(tmp_path_factory) -> tuple[Path, dict[str, np.ndarray]]:
    """The tiles of three images, one for training, one for validation and one for testing, and the
    labels of the last."""
    root, names, labels = tmp_path_factory.mktemp("dubai") / "tiles", [[], [], []], {}
    for number, path in enumerate(IMAGES):
        image = read(DATA / "dubai_seg" / f"{path.format('images')}.jpg")
        squares = cut(dubai_label(DATA / "dubai_seg" / f"{path.format('masks')}.png"))
        for place, square in cut(image).items():
            tile = empty_tile("dubai{}_{}_{}".format(number, *place), square, squares[place])
            write_release_tile(root, tile, np.zeros((0, 512), np.float32))
            names[number].append(tile.name)
            labels[tile.name] = squares[place]
    write_lists(root, *names)
    return root, {name: labels[name] for name in names[2]}


@pytest.mark.parametrize("modality", ["image", "fine"])
def test_dubai_with_classes_of_its_own_and_no_osm(dubai, checkpoint, tmp_path, modality):
    root, labels = dubai
    drawn = modality == "image"
    found = run("seg", root, tmp_path, f"checkpoint={checkpoint}", f"modality={modality}",
                f"classes=[{','.join(COLOURS)}]", drawn=drawn)
    assert found["tiles"] == {"train": 6, "val": 4, "test": 6}
    confusion = counted(root, tmp_path, labels, len(COLOURS))
    assert stored(tmp_path)["confusion"] == confusion.tolist()
    black = sum(int((label == 255).sum()) for label in labels.values())
    assert 0 < black <= 302
    assert confusion.sum() == 6 * 224 ** 2 - black
    assert [found["mean"][f"iou_{name}"] for name in COLOURS] == pytest.approx(iou(confusion),
                                                                               nan_ok=True)
    assert math.isfinite(found["mean"]["miou"])
    assert math.isfinite(stored(tmp_path)["loss"])


# ----------------------------------------------------- Helsinki: people of census cells, with OSM
# and a blank image

SIDE = 112  # pixels of a tile, which is a census cell of 250 m
COLUMNS, ROWS = range(6, 11), range(6)  # of the census cells, where the OSM extract is


@pytest.fixture(scope="module")
def helsinki(tmp_path_factory) -> Path:
    """The census cells inside the OSM extract, training, validation and test side by side. There
    is no imagery: the raster is blank."""
    folder = tmp_path_factory.mktemp("helsinki")
    census = DATA / "helsinki_pop/helsinki_population_grid_2020.gpkg"
    west, _, _, north = gpd.read_file(census).to_crs(3879).total_bounds.round(1)
    width, height, metre = len(COLUMNS) * SIDE, len(ROWS) * SIDE, 250 / SIDE
    with rasterio.open(folder / "blank.tif", "w", driver="GTiff", width=width, height=height,
                       count=3, dtype="uint8", crs="EPSG:3879",
                       transform=Affine(metre, 0, west + 250 * COLUMNS[0], 0, -metre,
                                        north)) as target:
        target.write(np.full((3, height, width), 128, np.uint8))
    root = folder / "tiles"
    prepare_tiles(folder / "blank.tif", DATA / "helsinki_pop/Helsinki.osm.pbf", root, "helsinki",
                  tile_px=SIDE, progress=False,
                  population=str(census))
    tiles = TileDataset(root, image_size=SIDE)
    known = [name for index, name in enumerate(tiles.names)
             if tiles.total(index, "pop") is not None]
    columns = {name: int(name.split("_")[1]) for name in known}
    write_lists(root,
                *([name for name in known if columns[name] in chosen]
                  for chosen in ((0, 1, 2), (3,), (4,))))
    return root


@pytest.mark.parametrize("modality", ["osm", "fusion", "image"])
def test_helsinki_population(helsinki, checkpoint, tmp_path, modality):
    found = run("pop", helsinki, tmp_path, f"checkpoint={checkpoint}", f"image_size={SIDE}",
                f"modality={modality}",
                "target_scale=standard", drawn=modality == "osm")
    tiles = TileDataset(helsinki, image_size=SIDE)
    true, estimate = (np.array([tile[key] for tile in predictions(tmp_path).values()])
                      for key in ("true", "estimate"))
    assert true.tolist() == [tiles.total(tiles.names.index(name), "pop")
                             for name in predictions(tmp_path)]
    assert found["mean"] == pytest.approx({
        "mae": np.abs(estimate - true).mean(), "rmse": math.sqrt(((estimate - true) ** 2).mean()),
        "r2": 1 - ((estimate - true) ** 2).sum() / ((true - true.mean()) ** 2).sum()})
    # a blank image says the same of every tile
    assert (np.ptp(estimate) < 1e-3) == (modality == "image")
    assert pictures(tmp_path) == ({"scatter", "error_map", "curves"} if modality == "osm"
                                  else set())
