"""How every figure is drawn and saved. Nothing here knows tiles or networks."""

import base64
import re
from collections.abc import Mapping
from io import BytesIO, StringIO
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter
from PIL import Image

from utils.files import replacing
from utils.progress import passing_bar
from utils.style import DARK_PAGE

FIGURE_FONT = 9
HALO = "#111111"        # behind text over imagery; black would become light on dark pages
WEBP_QUALITY = 84
PHOTOGRAPH = 20_000     # bytes from which a picture within an SVG is taken for a photograph
_DPI, _SVG_DPI = 130, 110
_RC = {"svg.fonttype": "none", "svg.hashsalt": "rose", "font.sans-serif": ["DejaVu Sans"]}
_FONT = " font-family: 'DejaVu Sans', sans-serif;"  # as matplotlib repeats it in every text
_LIGHTER = "".join(f'[style*="{name}: {colour}"]{{{name}:{lighter}!important}}'
                   for colour, lighter in DARK_PAGE.items() for name in ("fill", "stroke"))
_THEME = ("svg{color:#1c2226;fill:currentColor;font-family:'DejaVu Sans',Verdana,sans-serif}"
          f"@media(prefers-color-scheme:dark){{svg{{color:#e7ebec}}{_LIGHTER}}}*{{")
_PNG = re.compile(r"data:image/png;base64,\s*([A-Za-z0-9+/=]+)")


def bare(axes: Axes) -> None:
    """Remove the ticks of axes that hold a picture."""
    axes.set(xticks=[], yticks=[])


def literal(figure: Figure) -> Figure:
    """Return a figure that shows its texts as they are: a name with dollar signs is no formula.

    Only the powers of ten along logarithmic axes are formulas.
    """
    powers = {text for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)
              if isinstance(axis.get_major_formatter(), LogFormatter)
              for text in axis.findobj(Text)}
    for text in figure.findobj(Text):
        text.set_parse_math(text in powers)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a file that is whole or absent; make its folder if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        literal(figure).savefig(temporary, dpi=_DPI)


def save_figures(figures: Mapping[str, Figure | None], folder: Path) -> None:
    """Write each figure to `folder` as NAME.png and, for pages, as NAME.svg; None is skipped."""
    drawn = {name: figure for name, figure in figures.items() if figure is not None}
    for name, figure in passing_bar(drawn.items(), "drawing", "figure"):
        save_figure(figure, folder / f"{name}.png")
        with replacing(folder / f"{name}.svg") as temporary:
            temporary.write_text(themed_svg(figure), encoding="utf-8")


def themed_svg(figure: Figure) -> str:
    """Return a figure as SVG that suits light and dark pages.

    Its ground is clear. For readers who prefer dark pages, what is black in the figure becomes
    light, and DARK_PAGE applies. Photographs in it are WebP. The figure's axes, if they are white,
    are clear afterwards.
    """
    for axes in figure.axes:
        if axes.get_facecolor() == (1, 1, 1, 1):
            axes.patch.set_facecolor("none")
    figure.set_layout_engine("none")  # as laid out for the picture before
    text = StringIO()
    with rc_context(_RC):
        literal(figure).savefig(text, format="svg", dpi=_SVG_DPI, facecolor="none",
                       metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = " ".join(text.getvalue().replace(_FONT, "").split())
    svg = re.sub("(fill|stroke): #000000", r"\1: currentColor", svg)
    return _PNG.sub(_packed, svg.replace("*{", _THEME, 1))


def _packed(png: re.Match) -> str:
    """Return the data URI of a PNG, or of a WebP if that is smaller and it is a photograph."""
    data = base64.b64decode(png[1])
    packed = webp(Image.open(BytesIO(data))) if len(data) > PHOTOGRAPH else data
    if len(packed) >= len(data):
        return f"data:image/png;base64,{png[1]}"
    return f"data:image/webp;base64,{base64.b64encode(packed).decode()}"


def webp(image: Image.Image) -> bytes:
    """Return a picture as a WebP file, transparent only where it has transparent pixels."""
    clear = image.has_transparency_data and image.convert("RGBA").getextrema()[3][0] < 255
    packed = BytesIO()
    image.convert("RGBA" if clear else "RGB").save(packed, "WEBP", quality=WEBP_QUALITY, method=4)
    return packed.getvalue()
