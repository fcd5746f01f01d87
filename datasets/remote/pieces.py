"""Copy a window of a raster on a server to whole pieces on disk, some at a time.

A piece is a GeoTIFF of some blocks, the same for every window, so pieces that are there serve the
next window too, and a stopped copy resumes. No more than a piece a thread is held in memory.
"""

import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

from datasets.prepare.geo.raster_io import RASTER_ERRORS, check_blocks, raster_reason
from datasets.remote.http import Patience, RemoteError
from datasets.remote.http_faults import AGAIN, refusal
from datasets.remote.threads import in_threads
from datasets.remote.urls import short_url
from datasets.remote.virtual import Picture
from utils.files import replacing
from utils.progress import passing_bar

MOST_PIECE_BYTES = 32 << 20
_SIDE = 2048  # pixels of a piece, more or less
_STATUS = re.compile(r"HTTP (?:response|status) code\s*:\s*(\d{3})")


@dataclass(frozen=True)
class Seen:
    """What a look at a raster tells."""

    picture: Picture
    lattice: Window      # the first piece
    block: tuple[int, int]  # pixels across and down that are read at a time
    tags: dict[str, str]
    factors: list[int]   # of its overviews


@dataclass(frozen=True)
class RemoteRaster:
    """A raster on a server that GDAL can open, from any thread.

    Args:
        url: for messages.
        open: opens it, in the environment `options`.
        options: GDAL's; they allow this raster and no other.
        ask: asks the server for the raster, and raises RemoteError if it refuses: GDAL often does
            not say why it could not read.
    """

    url: str
    open: Callable[..., rasterio.DatasetReader]
    options: dict[str, object]
    patience: Patience
    ask: Callable[[], object] | None = None

    def look(self) -> Seen:
        """Open the raster; raise RemoteError if it cannot be."""
        with rasterio.Env(**self.options):
            try:
                with self.open() as dataset:
                    check_blocks(Path(short_url(self.url)), dataset)
                    return Seen(Picture.of(dataset, short_url(self.url)), _lattice(dataset),
                                dataset.block_shapes[0][::-1], dataset.tags(),
                                dataset.overviews(1))
            except RASTER_ERRORS as error:
                raise self.fault(error, "cannot be opened") from error

    def fault(self, error: Exception, what: str) -> RemoteError:
        """Return the error of a raster that GDAL could not open or read."""
        if match := _STATUS.search(f"{error} {error.__cause__}"):
            return RemoteError(refusal(self.url, int(match[1])), int(match[1]))
        try:
            if self.ask:
                self.ask()
        except RemoteError as refused:
            return refused
        # without what follows a file's name in an address, which may hold keys
        reason = re.sub(r"(/vsicurl/)?https?://\S*|\?\S*", "", raster_reason(error)).strip(" '\":")
        return RemoteError(f"{short_url(self.url)}: {what} ({reason}): the server stops midway, or "
                           f"the file is damaged; {AGAIN}")


def whole_blocks(window: Window, block: tuple[int, int], width: int, height: int) -> Window:
    """Return the blocks of a raster of width x height pixels that touch a window of it."""
    left, right = _outwards(window.col_off, window.width, block[0], width)
    top, bottom = _outwards(window.row_off, window.height, block[1], height)
    return Window(left, top, right - left, bottom - top)


def _outwards(start: int, size: int, block: int, end: int) -> tuple[int, int]:
    return start // block * block, min(end, math.ceil((start + size) / block) * block)


def pieces_in(window: Window, lattice: Window, width: int, height: int) -> Iterator[Window]:
    """Yield the pieces of a raster of width x height pixels that touch a window of it."""
    columns, rows = (range(start // step, math.ceil((start + size) / step))
                     for start, size, step in ((window.col_off, window.width, lattice.width),
                                               (window.row_off, window.height, lattice.height)))
    for row in rows:
        for column in columns:
            left, top = column * lattice.width, row * lattice.height
            yield Window(left, top, min(lattice.width, width - left),
                         min(lattice.height, height - top))


def piece_path(folder: Path, piece: Window) -> Path:
    return folder / f"{piece.col_off}_{piece.row_off}.tif"


def copy_pieces(raster: RemoteRaster, picture: Picture, pieces: Sequence[Window], folder: Path,
                threads: int, progress: bool) -> None:
    """Copy the pieces that `folder` lacks; raise RemoteError if one cannot be read."""
    missing = [piece for piece in pieces if not piece_path(folder, piece).is_file()]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    opened = threading.local()  # each thread reads through a dataset of its own

    def copy(piece: Window) -> None:
        with rasterio.Env(**raster.options):
            for attempt in range(1, raster.patience.attempts + 1):
                try:
                    if not hasattr(opened, "dataset"):
                        opened.dataset = raster.open()
                    return _copy(opened.dataset, picture, piece, piece_path(folder, piece))
                except RASTER_ERRORS as error:
                    opened.__dict__.pop("dataset", None)  # what it has cached may be the fault
                    fault = raster.fault(error, "cannot be read")
                    if attempt == raster.patience.attempts or fault.status in (401, 403, 404):
                        raise fault from error
                    time.sleep(raster.patience.pause_s * 2 ** (attempt - 1))

    with passing_bar(None, "imagery", "piece", len(missing), progress) as bar:
        for _ in in_threads(copy, missing, threads):
            bar.update()


def _copy(source: rasterio.DatasetReader, picture: Picture, piece: Window, path: Path) -> None:
    values = source.read(window=piece)  # [bands, h, w]
    mask = source.read_masks(1, window=piece) if picture.masked else None  # [h, w]
    part = picture.cropped(piece)
    profile = {"driver": "GTiff", "width": piece.width, "height": piece.height,
               "count": len(values), "dtype": values.dtype, "crs": part.crs or None,
               "transform": part.transform, "tiled": True, "compress": "deflate", "zlevel": 1,
               "predictor": 3 if values.dtype.kind == "f" else 2, "bigtiff": "if_safer",
               "photometric": "minisblack"}
    with (replacing(path, *RASTER_ERRORS) as temporary,
          rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
          rasterio.open(temporary, "w", **profile) as target):
        target.write(values)
        if mask is not None:
            target.write_mask(mask)


def _lattice(dataset: rasterio.DatasetReader) -> Window:
    """Return the first piece: about _SIDE pixels a side, in whole blocks, and no more bytes than
    MOST_PIECE_BYTES where blocks allow it. Rows of a raster without tiles come as a whole."""
    down, across = dataset.block_shapes[0]
    pixel = sum(np.dtype(dtype).itemsize for dtype in dataset.dtypes)
    width = dataset.width if across >= dataset.width else max(1, _SIDE // across) * across
    rows = min(_SIDE, MOST_PIECE_BYTES // (width * pixel))
    return Window(0, 0, width, max(1, rows // down) * down)
