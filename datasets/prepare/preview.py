"""A preview of a preparation: raster, outlines of OSM objects by layer, and the grid of tiles."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from rasterio.features import rasterize
from shapely import boundary

from datasets.prepare.grid import TileGrid
from datasets.prepare.imagery.bare import BareGround
from datasets.prepare.imagery.files import crs_name
from datasets.prepare.imagery.mosaic import Mosaic
from datasets.prepare.osm.spool import Spool
from utils.files import replacing
from utils.style import LAYER_COLOURS

SIDE_PX = 1400  # longer side of the drawn raster
LEAST_PX = 160  # shorter side of a long and narrow raster, at least
PAGE_PX = 800  # least width of the page: the title and the legend need it
ONE_ROW_PX = 1100  # least width of a page whose legend is one row
LEFT, RIGHT, TOP, ROW, BOTTOM = 80, 30, 105, 22, 60  # margins in pixels, and a row of the legend
DPI, SMALLER_DPI = 100, (84, 70, 58)
LARGEST = 1_500_000  # bytes of the picture
MOST_LINES = 60  # up to this many tiles across, every tile's edge is drawn
OPACITY, OPACITY_ON_PLAIN = 0.15, 0.5  # of an object inside its outline, over imagery or not
WIDE_UP_TO = 1.0  # metres; outlines are two pixels wide if a drawn pixel is not larger
CHUNK = 20_000  # objects drawn at once
NO_IMAGERY, LEGEND_GROUND, VEIL = 0.92, "#5A5A5A", 0.6
_SUBJECT = "rose-subject"  # text in the PNG that says what it shows


@dataclass(frozen=True)
class _Page:
    """The raster's position on the page in pixels; `metres` are its sides on the ground."""

    metres: tuple[float, float]

    @property
    def raster(self) -> tuple[int, int]:
        """Width and height, in the proportions of the ground."""
        scale = SIDE_PX / max(self.metres)
        return tuple(max(LEAST_PX, round(side * scale)) for side in self.metres)

    @property
    def size(self) -> tuple[int, int]:
        width, height = self.raster
        page = max(PAGE_PX, LEFT + width + RIGHT)
        return page, TOP + (ROW if page < ONE_ROW_PX else 0) + height + BOTTOM

    @property
    def box(self) -> tuple[float, float, float, float]:
        """left, bottom, width, height of the raster as fractions of the page, as in matplotlib."""
        (width, height), (page_width, page_height) = self.raster, self.size
        left = LEFT + (page_width - LEFT - RIGHT - width) / 2
        return left / page_width, BOTTOM / page_height, width / page_width, height / page_height


def preview_path(folder: Path, city: str) -> Path:
    """Return the path of a city's preview in the dataset at `folder`."""
    return folder / f"{city}_preview.png"


def shows(path: Path, subject: str) -> bool:
    """Return whether the file at `path` is a preview of the `subject`."""
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return picture.info.get(_SUBJECT) == subject
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError):
        return False


def draw_preview(path: Path, mosaic: Mosaic | BareGround, grid: TileGrid, spool: Spool | None,
                 city: str, subject: str) -> None:
    """Write the picture as a PNG of at most 1.5 MB; draw any number of objects, chunk by chunk.

    Args:
        spool: the objects; None of tiles without any.
        subject: what the picture shows: raster, objects and grid, as a digest.
    """
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    pixel = mosaic.metres_per_pixel
    page = _Page((mosaic.width * pixel[0], mosaic.height * pixel[1]))
    figure = pyplot.figure(figsize=[side / DPI for side in page.size], dpi=DPI)
    unit, name = (1000, "kilometres") if max(page.metres) > 20_000 else (1, "metres")
    axes = figure.add_axes(page.box)
    axes.imshow(_picture(mosaic, spool),
                extent=(0, page.metres[0] / unit, page.metres[1] / unit, 0), aspect="auto")
    every = _draw_grid(axes, grid, [side / unit for side in pixel])
    ground = "area" if isinstance(mosaic, BareGround) else "raster"
    axes.set(xlabel=f"{name} east of the {ground}'s top left corner", ylabel=f"{name} south")
    _title(figure, page, city, crs_name(mosaic.crs), grid, pixel, every)
    _legend(figure, page, spool)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(_png(figure, subject))
    pyplot.close(figure)


def _picture(mosaic: Mosaic | BareGround, spool: Spool | None) -> np.ndarray:
    """Return the raster with the objects over it: [h, w, 3] uint8."""
    rgb, valid = mosaic.thumbnail(SIDE_PX)
    picture = np.where(valid[..., None], rgb / np.float32(255), np.float32(NO_IMAGERY))
    finer = max(1, round(SIDE_PX / max(valid.shape)))  # thin outlines over a small raster
    picture = picture.repeat(finer, 0).repeat(finer, 1)
    if spool is not None:
        draw_objects(picture, mosaic, spool)
    return np.rint(255 * picture).astype(np.uint8)


def draw_objects(picture: np.ndarray, ground: Mosaic | BareGround, spool: Spool,
                 line: str | None = None) -> None:
    """Draw objects over a picture of `ground`, [h, w, 3] float32, in the colours of their layers;
    `line` is the colour of all outlines, None: each layer's own."""
    from matplotlib.colors import to_rgb

    height, width = picture.shape[:2]
    transform = ground.transform @ Affine.scale(ground.width / width, ground.height / height)
    layers = list(spool.counts)
    inside, outline = _layer_masks(spool, len(layers), transform, (height, width))
    if ground.metres_per_pixel[0] * ground.width / width <= WIDE_UP_TO and line is None:
        outline[:, 1:] |= outline[:, :-1]
        outline[:, :, 1:] |= outline[:, :, :-1]
    filled = OPACITY if line is None else OPACITY_ON_PLAIN
    for masks, opacity, colour in ((inside, filled, None), (outline, 1, line)):
        for name, own in LAYER_COLOURS.items():
            mask, ink = masks[layers.index(name)], np.array(to_rgb(colour or own), np.float32)
            picture[mask] = (1 - opacity) * picture[mask] + opacity * ink


def _layer_masks(spool: Spool, layers: int, transform: Affine,
                 shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return where each layer has an object, and where an outline: 2 x [layers, h, w] bool."""
    inside, outline = np.zeros((2, layers, *shape), bool)
    for start in range(0, len(spool), CHUNK):
        members = np.arange(start, min(start + CHUNK, len(spool)))
        geometry, layer = spool.geometries(members), spool.layers(members)
        for index in np.unique(layer):
            shapes = geometry[layer == index]
            for masks, lines in ((inside, shapes), (outline, boundary(shapes))):
                masks[index] |= rasterize(lines.tolist(), out_shape=shape, transform=transform,
                                          dtype="uint8") > 0
    return inside, outline


def _draw_grid(axes, grid: TileGrid, pixel: list[float]) -> int:
    """Draw every n-th tile's edges, veil the ground outside whole tiles, and return n; `pixel` is
    the width and height of a pixel in the units of the axes."""
    every = max(1, -(-max(grid.columns, grid.rows) // MOST_LINES))
    width, height = grid.width * pixel[0], grid.height * pixel[1]
    right, bottom = (((count - 1) * grid.stride + grid.tile_px) * size
                     for count, size in zip((grid.columns, grid.rows), pixel, strict=True))
    for x, y in (([right, width], [0, 0, height, height]),
                 ([0, right], [bottom, bottom, height, height])):
        axes.fill([x[0], x[1], x[1], x[0]], y, color="#808080", alpha=VEIL, linewidth=0)
    for colour, thickness in (("white", 2.0), ("black", 0.8)):  # visible on dark and light ground
        for lines, draw, end, size in ((grid.columns, axes.vlines, bottom, pixel[0]),
                                       (grid.rows, axes.hlines, right, pixel[1])):
            starts = np.arange(0, lines, every) * grid.stride
            draw(np.append(starts, (lines - 1) * grid.stride + grid.tile_px) * size, 0, end,
                 color=colour, linewidth=thickness, alpha=0.8)
    axes.set(xlim=(0, width), ylim=(height, 0))
    return every


def _title(figure, page: _Page, city: str, crs: str, grid: TileGrid, pixel: tuple[float, float],
           every: int) -> None:
    tile = _metres(*(grid.tile_px * side for side in pixel))
    lines = f" (one line in {every} is drawn)" if every > 1 else ""
    about = (f"{crs}  |  {_metres(*pixel)} per pixel  |  {grid.columns} x {grid.rows} tiles of "
             f"{grid.tile_px} pixels, {tile}{lines}")
    left, height = page.box[0], page.size[1]
    figure.text(left, 1 - 34 / height, city, fontsize=17, weight="bold")
    figure.text(left, 1 - 60 / height, about, fontsize=10)


def _metres(across: float, down: float) -> str:
    across, down = f"{across:.3g}", f"{down:.3g}"
    return f"{across} m" if across == down else f"{across} x {down} m"


def _legend(figure, page: _Page, spool: Spool | None) -> None:
    """Draw the legend on a dark ground, with outlines like those on the raster."""
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Patch

    counts = {} if spool is None else spool.counts
    colours = [(LAYER_COLOURS[name], f"{name} {count:,}") for name, count in counts.items()]
    handles = [Patch(facecolor=to_rgba(colour, OPACITY), edgecolor=colour, linewidth=1.8,
                     label=label) for colour, label in colours]
    handles.append(Patch(facecolor="#909090", edgecolor="none", label="no whole tile"))
    corner = page.box[0], page.box[1] + page.box[3] + 6 / page.size[1]
    rows = 1 if page.size[0] >= ONE_ROW_PX else 2
    figure.legend(
        handles=handles, loc="lower left", bbox_to_anchor=corner, borderaxespad=0, fancybox=False,
        framealpha=1, ncols=-(-len(handles) // rows), fontsize=10, handlelength=1.6,
        columnspacing=1.3, facecolor=LEGEND_GROUND, edgecolor="none", labelcolor="white",
    )


def _png(figure, subject: str) -> bytes:
    """Return the picture in 256 colours, the layers' among them, at the finest resolution that is
    small enough."""
    from matplotlib.colors import to_rgb

    from utils.drawing import literal

    own = [round(255 * value) for colour in (*LAYER_COLOURS.values(), "black", LEGEND_GROUND)
           for value in to_rgb(colour)]
    about = PngInfo()
    about.add_text(_SUBJECT, subject)
    for dpi in (DPI, *SMALLER_DPI):
        drawing, packed = io.BytesIO(), io.BytesIO()
        literal(figure).savefig(drawing, dpi=dpi, format="png")
        picture, palette = Image.open(drawing).convert("RGB"), Image.new("P", (1, 1))
        palette.putpalette(picture.quantize(256 - len(own) // 3).getpalette()[:768 - len(own)]
                           + own)
        picture = picture.quantize(palette=palette, dither=Image.Dither.NONE)
        picture.save(packed, "png", optimize=True, pnginfo=about)
        if packed.tell() <= LARGEST:
            break
    return packed.getvalue()
