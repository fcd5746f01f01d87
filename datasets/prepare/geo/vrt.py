"""What a VRT refers to, read so strictly that GDAL's lenient reader sees the same.

A VRT may name URLs, databases and code. Only elements that are known to be harmless are let
through, and of the files that they name only local ones.
"""

import re
from collections.abc import Callable
from pathlib import Path
from xml.parsers import expat

from utils.errors import PrepareError, one_line

MOST_BYTES = 64 << 20
_NAMING = ("sourcefilename", "sourcedataset")  # elements whose text is a path
# in lower case, as GDAL does not mind
_ELEMENT_NAMES = """
vrtdataset srs geotransform gcplist gcp metadata mdi vrtrasterband maskband overviewlist overview
blockxsize blockysize colorinterp nodatavalue hidenodatavalue colortable entry description
unittype offset scale categorynames category gdalrasterattributetable fielddefn name type usage
row f histograms histitem histmin histmax bucketcount includeoutofrange approximate histcounts
simplesource complexsource averagedsource kernelfilteredsource nodatafrommasksource sourcefilename
sourcedataset sourceband openoptions ooi sourceproperties srcrect dstrect scaleoffset scaleratio
lut colortablecomponent nodata usemaskband maskvaluethreshold remappedvalue exponent srcmin srcmax
dstmin dstmax clamp kernel size coefs resampling pixelfunctiontype pixelfunctionarguments
sourcetransfertype skipnoncontributingsources gdalwarpoptions warpmemorylimit resamplealg
workingdatatype option transformer approxtransformer maxerror basetransformer
genimgprojtransformer srcgeotransform srcinvgeotransform dstgeotransform dstinvgeotransform
reprojecttransformer reprojectiontransformer sourcesrs targetsrs options bandlist bandmapping
srcnodatareal srcnodataimag dstnodatareal dstnodataimag initdest cutline cutlineblenddist
srcalphaband dstalphaband gcptransformer order reversed refine pansharpeningoptions algorithm
algorithmoptions weights numthreads bitdepth spatialextentadjustment panchroband spectralband
"""
_ATTRIBUTE_NAMES = """
rasterxsize rasterysize subclass datatype band blockxsize blockysize relativetovrt shared domain
key format datum projection id pixel line x y z info dataaxistosrsaxismapping coordinateepoch xoff
yoff xsize ysize normalized index c1 c2 c3 c4 src dst name tabletype row0min binsize dstband
resampling min max buckets approxok srsid
"""
_ELEMENTS, _ATTRIBUTES = (frozenset(names.split()) for names in (_ELEMENT_NAMES,
                                                                 _ATTRIBUTE_NAMES))
_OPENED = ("overview_file", "x_dataset", "y_dataset", "rpc_dem")  # metadata that names files
_PREFIX = re.compile(r"\w{2,}:")  # of a driver's own way to name things, such as NETCDF:a.nc:band
_REFUSED = "a VRT that is read here holds local rasters and how they lie side by side, no more"


def local_sources(path: Path) -> list[Path]:
    """Return the files that a VRT names, each once, in their order.

    Raises:
        PrepareError: it cannot be read, holds something else than rasters side by side, or names
            what is no local file.
    """
    reader = _Reader(path)
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise reader.fault(f"has more than {MOST_BYTES >> 20} MB")
        reader.parse(content.decode("utf-8-sig"))
    except OSError as error:
        raise PrepareError(f"{path}: cannot be read ({one_line(error)}).") from error
    except (expat.ExpatError, ValueError) as error:  # not UTF-8, too
        raise PrepareError(f"{path}: not a readable raster: no VRT, which is XML in UTF-8 "
                           f"({one_line(error)}). Get the file again.") from error
    return list(dict.fromkeys(_located(path, *named) for named in reader.named))


def all_sources(path: Path) -> list[Path]:
    """Return the files that a VRT and the VRTs in it name, which do not go in a circle; none of
    another file. Raise PrepareError as `local_sources` does."""
    if path.suffix.lower() != ".vrt":
        return []
    return [file for source in local_sources(path) for file in (source, *all_sources(source))]


def _located(path: Path, name: str, relative: bool) -> Path:
    """Return the local file that `name` in a VRT says; raise PrepareError if there is none."""
    if ("://" in name or name.startswith(("/vsi", "<")) or _PREFIX.match(name)
            or name != name.strip()):  # which GDAL strips
        raise PrepareError(f"{path}: the VRT names {name[:200]!r}, which is no local file, so "
                           "nothing was opened. Put the raster on this machine, and make a VRT "
                           "that names it there.")
    file = path.parent / name if relative else Path(name)
    if not file.is_file():
        raise PrepareError(f"{path}: the VRT names {file}, and there is no such file. Put it "
                           "there, or make the VRT again.")
    return file


class _Reader:
    """A pass over a VRT's XML; `named` collects what it names: the text, and whether it is
    relative to the VRT."""

    def __init__(self, path: Path):
        self.path, self.named = path, []
        self._open: list[tuple[str, dict[str, str]]] = []  # elements, from the root
        self._text: list[str] | None = None
        self._xml = expat.ParserCreate("utf-8")
        self._xml.StartElementHandler, self._xml.EndElementHandler = self._start, self._end
        self._xml.CharacterDataHandler = self._characters
        self._xml.StartDoctypeDeclHandler = self._refuse("a DOCTYPE")
        self._xml.StartCdataSectionHandler = self._refuse("a CDATA section")
        self._xml.ProcessingInstructionHandler = self._refuse("a processing instruction")
        self._xml.CommentHandler = self._comment
        self._xml.buffer_text = True

    def parse(self, text: str) -> None:
        self._xml.Parse(text, True)

    def fault(self, found: str) -> PrepareError:
        return PrepareError(f"{self.path}: the VRT {found}; {_REFUSED}. Make a plain one, or pass "
                            "GeoTIFFs.")

    def _refuse(self, what: str) -> Callable[..., None]:
        def handler(*_):
            raise self.fault(f"holds {what}")
        return handler

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        tag = name.casefold()
        lowered = {key.casefold(): value for key, value in attributes.items()}
        allowed = lowered if tag == "pixelfunctionarguments" else _ATTRIBUTES
        unknown = [f"<{name}>"] * (tag not in _ELEMENTS) + [
            key for key in attributes if key.casefold() not in allowed]
        if not self._open and tag != "vrtdataset":
            raise self.fault(f"begins with <{name[:60]}>")
        if unknown or len(lowered) < len(attributes):
            raise self.fault(f"holds {(unknown or [f'<{name}>'])[0][:60]}, which is not known here")
        if (self._open and self._open[-1][0] in _NAMING) or (
                tag == "mdi" and lowered.get("key", "").casefold() in _OPENED):
            raise self.fault(f"names a file in <{name}>")
        self._open.append((tag, lowered))
        self._text = [] if tag in _NAMING else None

    def _characters(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    def _comment(self, _: str) -> None:
        if self._text is not None:
            raise self.fault("holds a comment inside a file's name")

    def _end(self, _: str) -> None:
        tag, attributes = self._open.pop()
        if tag in _NAMING:
            self.named.append(("".join(self._text), attributes.get("relativetovrt", "0") == "1"))
        self._text = None

