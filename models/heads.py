"""What a fine-tuned model is for: it builds the model, and is stored in the model's file."""

from dataclasses import dataclass
from typing import Any, ClassVar

from models import registry
from models.decoders import SCALES, TargetScale
from models.downstream import Regressor, Segmenter, build_regressor, build_segmenter
from models.rose import Rose
from utils.contents import ContentFault, Fields, Items, Number, Text
from utils.style import class_colours

TARGETS = ("pop", "co2")
STATISTICS = "statistics"  # the choice of patch_input= that adds them
_MOST_CLASSES = 1 << 16
_SMALLEST_STD = 1e-30
_CHANNELS = Items(Text(most=500), least=1, most=1000)
# what is added to the embedded patches: see `models.downstream.Downstream`
_ADDED = {"osm_channels": _CHANNELS,
          "patch_input": Text((STATISTICS,))}
_MLP = Items(Text(most=500), most=1000)  # channels, or none where no objects are read
_ANY_HEAD = Fields({"problem": Text(("segmentation", "regression"))})


@dataclass(frozen=True)
class SegmentationHead:
    """A class for every pixel; modality and decoder are names in models/registry.py."""

    problem: ClassVar[str] = "segmentation"
    counts: ClassVar[tuple[str, ...]] = ()  # as of a regression: it counts no objects
    modality: str
    decoder: str
    classes: tuple[str, ...]  # their names, in the order of the labels' values
    own_colours: tuple[str, ...] = ()  # of the classes, #rrggbb, if their labels came with colours
    channels: tuple[str, ...] = ()  # of drawn OSM objects, where they are drawn
    statistics: bool = False  # patches also say their statistics
    # channels of the objects that an MLP of patches beside the network reads; None: there is none
    mlp: tuple[str, ...] | None = None

    def build(self, rose: Rose) -> Segmenter:
        """Return an untrained segmenter on `rose`."""
        return build_segmenter(rose, self.modality, self.decoder, len(self.classes),
                               self.channels, self.statistics, self.mlp)

    @property
    def colours(self) -> list[str]:
        """A colour #rrggbb for each class."""
        return list(self.own_colours) or class_colours(self.classes)

    @property
    def choices(self) -> dict[str, Any]:
        """What a user chooses of it, by key."""
        return {"modality": self.modality, "decoder": self.decoder, "classes": list(self.classes)}

    def describe(self) -> dict[str, Any]:
        """Return it as JSON, for `read_head`."""
        colours = {"class_colours": list(self.own_colours)} if self.own_colours else {}
        mlp = {} if self.mlp is None else {"patch_mlp": list(self.mlp)}
        return {"problem": self.problem, **self.choices, **colours, **_added(self), **mlp}


@dataclass(frozen=True)
class RegressionHead:
    """One number for a tile; modality is a name in models/registry.py."""

    problem: ClassVar[str] = "regression"
    mlp: ClassVar[None] = None  # as of a segmentation: there is none
    modality: str
    target: str  # of TARGETS
    scale: TargetScale
    channels: tuple[str, ...] = ()  # as of a segmentation
    statistics: bool = False
    counted: str = ""  # what the total is the sum of, where it is no people or CO2
    counts: tuple[str, ...] = ()  # channels of the objects that a linear model beside it counts

    def build(self, rose: Rose) -> Regressor:
        """Return an untrained regressor on `rose`."""
        return build_regressor(rose, self.modality, self.scale, self.channels,
                               self.statistics, self.counts)

    @property
    def choices(self) -> dict[str, Any]:
        """What a user chooses of it, by key; mean and std of the scale follow from the tiles."""
        return {"modality": self.modality, "target": self.target, "target_scale": self.scale.name}

    def describe(self) -> dict[str, Any]:
        """Return it as JSON, for `read_head`."""
        return {"problem": self.problem, **self.choices, "mean": self.scale.mean,
                "std": self.scale.std, **_added(self),
                **({"counted": self.counted} if self.counted else {}),
                **({"osm_counts": list(self.counts)} if self.counts else {})}


Head = SegmentationHead | RegressionHead


def has_beside(head: Head) -> bool:
    """Return whether another model, which is fitted and not trained, stands beside the network."""
    return bool(head.counts) or head.mlp is not None


def read_head(stored: dict[str, Any]) -> Head:
    """Return the head that `describe` gave; raise ContentFault if `stored` is none."""
    at = "purpose"
    if _ANY_HEAD.check(stored, at)["problem"] == SegmentationHead.problem:
        stored = Fields({
            "modality": Text(registry.segmentation_modalities()),
            "decoder": Text(registry.decoder_names()),
            "classes": Items(Text(most=200, line=True), least=1, most=_MOST_CLASSES)}, {
            "class_colours": Items(Text(pattern="#[0-9a-f]{6}")), "patch_mlp": _MLP,
            **_ADDED}).check(stored, at)
        classes, own = tuple(stored["classes"]), tuple(stored.get("class_colours", ()))
        if len(own) not in (0, len(classes)):
            raise ContentFault(f"{at}.class_colours has {len(own)} colours, expected "
                               f"{len(classes)}, one of each class")
        return SegmentationHead(stored["modality"], stored["decoder"], classes, own,
                                mlp=_read_beside(stored, at, "patch_mlp", True),
                                **_read_added(stored, at))
    stored = Fields({
        "modality": Text(registry.regression_modalities()), "target": Text(TARGETS),
        "target_scale": Text(SCALES), "mean": Number(), "std": Number(_SMALLEST_STD)
    }, {"counted": Text(most=200, line=True), "osm_counts": _CHANNELS, **_ADDED}).check(stored, at)
    scale = TargetScale(stored["target_scale"], stored["mean"], stored["std"])
    return RegressionHead(stored["modality"], stored["target"], scale,
                          counted=stored.get("counted", ""),
                          counts=_read_beside(stored, at, "osm_counts") or (),
                          **_read_added(stored, at))


def _added(head: Head) -> dict[str, Any]:
    return {**({"osm_channels": list(head.channels)} if head.channels else {}),
            **({"patch_input": STATISTICS} if head.statistics else {})}


def _read_added(stored: dict[str, Any], at: str) -> dict[str, Any]:
    """Return the channels of drawn objects, and whether there are statistics; raise ContentFault if
    they do not suit the modality."""
    channels, statistics = tuple(stored.get("osm_channels", ())), "patch_input" in stored
    modality = registry.MODALITIES[stored["modality"]]
    expected = ("different names, one or more" if modality.draws_osm else
                "none, or different names" if modality.may_draw_osm else "none")
    if ((channels and not modality.may_draw_osm) or (modality.draws_osm and not channels)
            or len({*channels}) != len(channels)):
        raise ContentFault(f"{at}.osm_channels has {len(channels)} names, expected {expected}, for "
                           f"modality={stored['modality']}")
    if statistics and not modality.may_add_statistics:
        raise ContentFault(f"{at}.patch_input is {stored['patch_input']}, expected none: "
                           f"modality={stored['modality']} cannot have them")
    return {"channels": channels, "statistics": statistics}


def _read_beside(stored: dict[str, Any], at: str, name: str,
                 needs: bool = False) -> tuple[str, ...] | None:
    """Return the channels of objects that a model beside the network reads, None if there is no
    such model; raise ContentFault if they do not suit the modality.

    Args:
        needs: whether it reads objects wherever the modality does.
    """
    if name not in stored:
        return None
    channels = tuple(stored[name])
    reads_osm = registry.MODALITIES[stored["modality"]].reads_osm
    if len({*channels}) != len(channels) or (
            bool(channels) != reads_osm if needs else channels and not reads_osm):
        expected = ("none" if not reads_osm else
                    "different names, one or more" if needs else "none, or different names")
        raise ContentFault(f"{at}.{name} has {len(channels)} names, expected {expected}, for "
                           f"modality={stored['modality']}")
    return channels


def differences(head: Head, asked: Head) -> list[str]:
    """Return `key=value (asked value)` for each choice of `head` that is not the one asked for."""
    stored, requested = head.choices, asked.choices
    if head.problem != asked.problem:
        stored, requested = {"problem": head.problem}, {"problem": asked.problem}
    return [f"{key}={_brief(stored[key])} (asked {_brief(requested[key])})" for key in requested
            if stored[key] != requested[key]]


def _brief(value: Any) -> str:
    return f"{len(value)} classes [{','.join(value)}]" if isinstance(value, list) else str(value)
