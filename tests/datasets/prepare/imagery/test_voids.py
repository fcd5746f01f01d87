"""Gaps that no file declares: pointed out with the key that cures them."""

import re

import numpy as np
import pytest

from datasets.prepare.imagery.mosaic import open_mosaic
from tests.datasets.prepare.places import grid, pixels, prepare, write_raster


def noted(raster, **keys) -> str:
    with open_mosaic(raster, **keys) as mosaic:
        return "\n".join(mosaic.warnings)


def with_void(value: int, side: int = 40, dtype: type = np.uint8) -> np.ndarray:
    image = pixels(200, 200).astype(dtype)
    image[:side, :side] = value
    return image


@pytest.mark.parametrize(("value", "dtype", "colour"), [
    (255, np.uint8, "white"), (0, np.uint8, "black"), (65535, np.uint16, "white"),
    (0, np.float32, "black"), (1, np.float32, "white"), (-32768, np.int16, "black")])
def test_a_void_is_pointed_out_with_the_key_that_cures_it(tmp_path, value, dtype, colour):
    raster = write_raster(tmp_path / "city.tif", with_void(value, dtype=dtype))
    note = noted(raster)
    assert f"city.tif: blocks of pure {colour} ({value})" in note
    assert "fill 2.8% of the imagery" in note                              # 4 of 12 x 12 blocks
    assert f"Pass nodata={value} if they are gaps, or nodata=none" in note
    for nodata in re.findall(r"nodata=(\w+) if", note):
        assert "pure" not in noted(raster, nodata=nodata)


@pytest.mark.parametrize("image", [
    with_void(254), with_void(255, side=15), np.insert(with_void(255), 3, 0, axis=2),
], ids=["not pure", "a roof", "declared"])
def test_what_is_no_void_is_not_pointed_out(tmp_path, image):
    if image.shape[2] == 4:
        image[40:, :, 3] = image[:, 40:, 3] = 255
    raster = write_raster(tmp_path / "city.tif", image,
                          **({"photometric": "rgb", "alpha": "yes"} if image.shape[2] == 4 else {}))
    assert "pure" not in noted(raster)


def test_voids_of_one_of_many_files_are_found(tmp_path):
    for number in range(6):
        image = with_void(255, side=150 if number == 4 else 0)
        write_raster(tmp_path / f"{number}.tif", image, grid(200 * number))
    assert "4.tif: blocks of pure white (255)" in noted(tmp_path)


def test_a_preparation_says_it_and_the_key_leaves_the_gap_out(place, capsys):
    image = place.image.copy()
    image[:64, :64] = 255                                                  # tile (0, 0)
    write_raster(place.raster, image)
    assert prepare(place, keep_empty=True, progress=True).tiles == 6
    assert "note:" in (shown := capsys.readouterr().out)
    assert "Pass nodata=255 if they are gaps" in shown
    assert prepare(place, keep_empty=True, overwrite=True, nodata="255").tiles == 5
