"""The decoders, modalities and image encoders that keys can name: one line each.

A line says where a thing is written, as "module:attribute". It is imported when a network is
built, so that a command line knows its choices before it imports any library of networks.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

# name -> class(width, num_classes) from tokens [B, L, width] to scores [B, L, num_classes]; if its
# attribute `reads` is "layers", from layers [B, 4, L, width] and the grid (rows, columns) of
# patches to scores [B, num_classes, h, w]
DECODERS = {
    "linear": "models.decoders:LinearDecoder",
    "mask_transformer": "models.decoders:MaskTransformer",
    "pyramid": "models.pyramid:PyramidDecoder",
}

# name -> function(pretrained) that returns a VisionTransformer or Eva; timm's names need no line
IMAGE_ENCODERS: dict[str, str] = {}


@dataclass(frozen=True)
class Modality:
    """What a decoder reads of a tile."""

    home: str               # "module:attribute" of its `models.modalities.Representation`
    gives: tuple[str, ...]  # "tokens" for segmentation, "vector" for regression, or both
    reads: tuple[str, ...]  # "image", "osm", or both
    draws_osm: bool = False  # as an image, with channels for the tags of the training tiles
    # its functions take, as a fourth argument, what a model adds to the embedded patches
    takes_added: bool = False

    @property
    def reads_image(self) -> bool:
        return "image" in self.reads

    @property
    def reads_osm(self) -> bool:
        return "osm" in self.reads

    @property
    def may_draw_osm(self) -> bool:
        """Whether its image encoder can have drawn objects: it always has, or reads both."""
        return self.draws_osm or (self.takes_added and self.reads_image and self.reads_osm)

    @property
    def may_add_statistics(self) -> bool:
        """Whether an image token can also say the statistics of its patch."""
        return self.takes_added and self.reads_image

    @property
    def reads_graph(self) -> bool:
        """Whether objects are read one by one, by the OSM encoder."""
        return self.reads_osm and not self.draws_osm


MODALITIES = {
    "image": Modality("models.modalities:IMAGE", ("tokens", "vector"), ("image",),
                      takes_added=True),
    "osm": Modality("models.modalities:OSM", ("tokens", "vector"), ("osm",)),
    "fusion": Modality("models.modalities:GLOBAL_FUSION", ("tokens", "vector"), ("image", "osm"),
                       takes_added=True),
    "fine": Modality("models.modalities:FINE_FUSION", ("tokens",), ("image", "osm"),
                     takes_added=True),
    "osm_raster": Modality("models.modalities:OSM_RASTER", ("tokens", "vector"), ("osm",),
                           draws_osm=True, takes_added=True),
    "image_osm_raster": Modality("models.modalities:IMAGE", ("tokens", "vector"), ("image", "osm"),
                                 draws_osm=True, takes_added=True),
}


def decoder_names() -> tuple[str, ...]:
    """Return the choices of decoder=."""
    return tuple(DECODERS)


def segmentation_modalities() -> tuple[str, ...]:
    """Return the choices of modality= for segmentation."""
    return _giving("tokens")


def regression_modalities() -> tuple[str, ...]:
    """Return the choices of modality= for regression."""
    return _giving("vector")


def drawing_modalities() -> tuple[str, ...]:
    """Return the modalities that can have drawn objects."""
    return tuple(name for name, modality in MODALITIES.items() if modality.may_draw_osm)


def _giving(what: str) -> tuple[str, ...]:
    return tuple(name for name, modality in MODALITIES.items() if what in modality.gives)


def load(home: str) -> Any:
    """Import and return the attribute of a module that `home`, "module:attribute", names."""
    module, _, attribute = home.partition(":")
    return getattr(import_module(module), attribute)
