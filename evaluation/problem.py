"""The two downstream problems: targets, models, how they are judged, and baselines to beat."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets import TileDataset
from datasets.labelled import LabelledTiles
from datasets.osm_degradation import OsmDegradation
from datasets.targets import MOST_CLASSES, UNITS, UNKNOWN
from evaluation.baselines import LINEAR, regression_baselines, segmentation_baselines
from evaluation.calibration import (
    COVERAGE,
    conformal_half_width,
    conformal_interval,
    reliability,
    tile_bins,
)
from evaluation.keys import RegressionConfig, SegmentationConfig
from evaluation.metrics import (
    RegressionMetrics,
    SegmentationMetrics,
    absent_classes,
    tile_counts,
)
from evaluation.osm_statistics import fit_ridge, linear_estimates, osm_statistics
from evaluation.patch_models import train_patches
from models.decoders import TargetScale
from models.downstream import Regressor, Segmenter
from models.heads import RegressionHead, SegmentationHead
from utils.contents import Items, Number, Rule, Whole
from utils.errors import ConfigError, TileError
from utils.tables import format_number


class Segmentation:
    """A class for every pixel (Rose section 4.1): cross-entropy of known pixels, which count by
    their class with class_weights=root; judged by mIoU.

    Attributes:
        score: the figure that chooses an epoch; `better` is 1 if more of it is better, -1 if less.
        detail: columns that describe each tile.
        calibrated: figures of how sure a model may be, of the reported tiles alone.
        head: what a model is for: of a segmentation once `settle` knows the dataset's classes;
            the scale of a regression is fitted by `learn`.
        record: entries of its own in results.json.
        seen: the targets that `learn` read of each list, which identify a result.
        weights: of classes in the loss, [C]; None: all count alike.
    """

    name, title, score, better = "segmentation", "Segmentation", "miou", 1
    detail = ("pixel_accuracy", "known_pixels")
    calibrated = ("ece",)

    def __init__(self, cfg: SegmentationConfig):
        self.cfg = cfg
        named = cfg.classes
        if named and (len({*named}) != len(named) or not 2 <= len(named) <= MOST_CLASSES):
            raise ConfigError(f"classes=[{','.join(named)}]: expected 2 to {MOST_CLASSES} "
                              "different names, in the order of the labels' values")

    def settle(self, dataset: TileDataset) -> None:
        """Take the classes of a dataset, by other names if the keys give any; set `head`. Raise
        ConfigError if these are of another number than the dataset records."""
        known, named = dataset.land_use_classes, self.cfg.classes
        if named and known.stated and len(named) != len(known.names):
            raise ConfigError(f"classes=[{','.join(named)}]: {len(named)} names, but "
                              f"{dataset.root} has {len(known.names)} classes "
                              f"({','.join(known.names)}); leave classes= out, or give each of "
                              "them another name")
        self.classes = tuple(named or known.names)
        self.head = SegmentationHead(self.cfg.modality, self.cfg.decoder, self.classes, known.own)

    @property
    def record(self) -> dict[str, Any]:
        """What results.json says of the classes."""
        return {"classes": list(self.classes), "class_colours": self.head.colours}

    def tiles(self, dataset: TileDataset, indices: Sequence[int],
              degradation: OsmDegradation) -> LabelledTiles:
        """Return the tiles with their labels."""
        return LabelledTiles(dataset, indices, "land_use", len(self.classes), degradation)

    def learn(self, train: LabelledTiles, val: LabelledTiles, reported: LabelledTiles) -> None:
        """Read and check every label, and keep what the baselines need."""
        # [C] pixels each
        self.shares, chosen, self.truth = (tiles.class_counts() for tiles in (train, val, reported))
        self.seen = [counts.tolist() for counts in (self.shares, chosen, self.truth)]
        for counts, what in ((self.shares, "training"), (chosen, "validation"),
                             (self.truth, "test")):
            if not counts.sum():
                raise TileError(f"{train.dataset.root}: no pixel of the labels of the {what} "
                                "tiles has a class, expected values from 0 to "
                                f"{len(self.classes) - 1}; see label_map= of prepare_dataset.py, "
                                "or give another list")
        self.weights = root_weights(self.shares) if self.cfg.class_weights == "root" else None

    def fit_beside(self, model: Segmenter, train: LabelledTiles, val: LabelledTiles,
                   seed: int) -> None:
        """Train the MLP of patches beside a new model on the tiles of its seed."""
        train_patches(model.mlp, train, val, self.classes, seed, self.cfg.drop_graphs,
                      self.weights)

    def for_shortcomings(self, seen: list[int]) -> dict[str, Any]:
        """Return what `shortcomings_of` takes of a list's targets."""
        return {"totals": {}, "classes": seen, "names": self.classes}

    def loss(self, outputs: Tensor, target: Tensor, model: Segmenter) -> Tensor:
        """Return the mean cross-entropy over the known pixels of logits [B, C, H, W] and labels
        [B, H, W], weighted by class; 0, with a graph, if none is known."""
        weights = None if self.weights is None else self.weights.to(outputs.device)
        total = F.cross_entropy(outputs.float(), target, weights, ignore_index=UNKNOWN,
                                reduction="sum")
        return total / (self.weight(target) or 1)

    def weight(self, target: Tensor) -> float:
        """Return the weights of the known pixels, over which a batch's loss is the mean: with
        class_weights=none, their number."""
        known = target[target != UNKNOWN]
        return float(len(known) if self.weights is None
                     else self.weights.to(target.device)[known].sum())

    def metrics(self, device: torch.device) -> SegmentationMetrics:
        """Return metrics of `judged` outputs and targets."""
        return SegmentationMetrics(self.classes, self.cfg.protocol, device)

    def judged(self, outputs: Tensor, model: Segmenter) -> Tensor:
        """Return what metrics take of a model's outputs: the logits."""
        return outputs

    def details(self, judged: Tensor, target: Tensor) -> list[list[float]]:
        """Return `detail` of each tile: the share of its known pixels that is right (nan if none
        is known), and how many are known."""
        known = (target != UNKNOWN).flatten(1).sum(1)
        right = (judged.argmax(1) == target).flatten(1).sum(1)
        return [[r / k if k else torch.nan, k]
                for r, k in zip(right.tolist(), known.tolist(), strict=True)]

    def tally(self, judged: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return what each tile of a batch adds to the figures, as `Tallies.values`."""
        return {"counts": tile_counts(judged.argmax(1), target, len(self.classes)).int(),
                "calibration": tile_bins(judged, target)}

    def calibrate(self, tallies: dict[str, Tensor],
                  run: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the tallies of the reported tiles, complete, and what results.json says of how
        sure the model of `run` may be."""
        return tallies, reliability(tallies["calibration"].sum(0))

    def baselines(self) -> dict[str, dict[str, float]]:
        """Return the figures of predictions that know the classes' shares and nothing else."""
        return segmentation_baselines(self.shares, self.truth, self.classes, self.cfg.protocol)

    def extras(self, metrics: SegmentationMetrics, details: list[list[float]]) -> dict[str, Any]:
        """Return what else a result holds: the confusion matrix, rows the truth."""
        return {"confusion": metrics.confusion().tolist()}

    @property
    def extras_rules(self) -> dict[str, Rule]:
        """What `extras` must be where a result is read."""
        count = len(self.classes)
        return {"confusion": Items([Items([Whole(least=0, most=2**53)] * count)] * count)}

    def remarks(self, result: dict[str, Any]) -> list[str]:
        """Return what a reader of a result must know."""
        confusion = torch.tensor(result["confusion"])                       # [C, C], rows the truth
        remarks = []
        if absent := absent_classes(confusion, self.classes):
            how = ("count as 0 in mIoU" if self.cfg.protocol == "release"
                   else "are left out of the means")
            remarks = [f"absent from truth and prediction: {', '.join(absent)}; such classes {how}"]
        missed = (confusion.sum(1) > 0) & (confusion.sum(0) == 0)
        if missed.any():
            names = [name for name, miss in zip(self.classes, missed.tolist(), strict=True) if miss]
            remarks.append(f"seed {result['seed']} never predicts {', '.join(names)}, which the "
                           "tiles have")
        return remarks


def root_weights(counts: Tensor) -> Tensor:
    """Return weights of classes for a loss, float32 [C], of their pixels [C]: the inverse square
    root of a class's share, so that rare classes count more, if less than common ones together,
    times a factor that makes the mean over these pixels 1. A class without pixels, which cannot be
    learned, has none."""
    roots = counts.double().rsqrt().where(counts > 0, 0)
    return (roots * counts.sum() / (roots * counts).sum()).float()


class Regression:
    """A tile's people or tonnes of CO2 (Rose sections 4.2, 4.3): squared error in units of
    training; judged by RMSE, which orders models as R2 does. Attributes as of `Segmentation`.
    """

    name, score, better = "regression", "rmse", -1
    detail = ("true", "estimate")
    calibrated = ("interval_coverage", "interval_width")

    def __init__(self, cfg: RegressionConfig):
        self.cfg = cfg
        self.unit = UNITS[cfg.target]
        self.total: Literal["pop", "CO2"] = {"pop": "pop", "co2": "CO2"}[cfg.target]
        self.record: dict[str, Any] = {}
        self.head = RegressionHead(cfg.modality, cfg.target, TargetScale(cfg.target_scale))

    @property
    def title(self) -> str:
        return f"Regression of {self.unit}"

    def settle(self, dataset: TileDataset) -> None:
        """Call the total what the dataset calls it."""
        if what := dataset.counted(self.total):
            self.unit = f"{what} a tile"
            self.head = replace(self.head, counted=what)

    def tiles(self, dataset: TileDataset, indices: Sequence[int],
              degradation: OsmDegradation) -> LabelledTiles:
        """Return the tiles with their totals."""
        return LabelledTiles(dataset, indices, self.total, degradation=degradation)

    def learn(self, train: LabelledTiles, val: LabelledTiles, reported: LabelledTiles) -> None:
        """Read and check every total, fit the scale, and keep what the baselines need."""
        # float64 [n], [v], [m]
        self.train, chosen, self.truth = (tiles.totals() for tiles in (train, val, reported))
        self._lists, self._chosen = (train, val, reported), chosen
        self._amounts: dict[tuple, Tensor] = {}
        self.seen = [totals.tolist() for totals in (self.train, chosen, self.truth)]
        lowest = min(map(min, self.seen))
        if self.cfg.target_scale == "log1p" and lowest <= -1:
            raise TileError(f"{train.root}: {self.cfg.target} of {lowest:g}, expected more than "
                            "-1, for log(1 + it) to exist; use target_scale=standard")
        self.head = replace(self.head, scale=TargetScale.fit(self.cfg.target_scale, self.train))

    def fit_beside(self, model: Regressor, train: LabelledTiles, val: LabelledTiles,
                   seed: int) -> None:
        """Fit the linear model of objects beside a new model, in units of training, to the tiles of
        its seed."""
        rows, val_rows = (self._statistics(tiles, model.counts.channels) for tiles in (train, val))
        scale = self.head.scale
        linear = fit_ridge(rows, scale.scale(self.train), val_rows, scale.scale(self._chosen),
                           scale.scale(torch.zeros(())).item())
        model.counts.set_to(**linear._asdict())

    def _statistics(self, tiles: LabelledTiles, channels: Sequence[str]) -> Tensor:
        """Return `osm_statistics`, read once for seeds and models that have the same."""
        degraded = tiles.degradation
        key = tuple(tiles.indices), degraded if degraded.is_drawn else None, tuple(channels)
        if key not in self._amounts:
            self._amounts[key] = osm_statistics(tiles, channels)
        return self._amounts[key]

    def for_shortcomings(self, seen: list[float]) -> dict[str, Any]:
        """Return what `shortcomings_of` takes of a list's targets."""
        return {"totals": {self.cfg.target: seen}}

    def loss(self, outputs: Tensor, target: Tensor, model: Regressor) -> Tensor:
        """Return the mean squared error, in units of training, of outputs [B, 1], totals [B]."""
        return F.mse_loss(outputs[:, 0].float(), model.decoder.scale.scale(target).float())

    def weight(self, target: Tensor) -> int:
        """Return the number of tiles, over which a batch's loss is the mean."""
        return len(target)

    def metrics(self, device: torch.device) -> RegressionMetrics:
        """Return metrics of `judged` outputs and targets."""
        return RegressionMetrics(device)

    def judged(self, outputs: Tensor, model: Regressor) -> Tensor:
        """Return what metrics take of a model's outputs: estimates [B, 1] in original units."""
        return model.estimates(outputs)

    def details(self, judged: Tensor, target: Tensor) -> list[list[float]]:
        """Return `detail` of each tile."""
        return torch.stack([target.double(), judged[:, 0].double()], 1).tolist()

    def tally(self, judged: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return what each tile of a batch adds to the figures, as `Tallies.values`."""
        return {"true": target.double().cpu(), "estimate": judged[:, 0].double().cpu()}

    def calibrate(self, tallies: dict[str, Tensor],
                  run: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """As of `Segmentation`: the tallies gain the intervals of the tiles, whose width the
        validation tiles set; there are none where these are the reported tiles."""
        scale, half_width = run.network.decoder.scale, math.nan
        if run.setup.reported != "val":
            true, estimate = torch.tensor(run.measure("val").details, dtype=torch.float64).T
            half_width = conformal_half_width(estimate, true, scale)
        low, high = conformal_interval(tallies["estimate"], half_width, scale).unbind(1)
        return ({**tallies, "low": low.contiguous(), "high": high.contiguous()},
                {"level": COVERAGE, "half_width": half_width, "units": scale.name})

    def baselines(self) -> dict[str, dict[str, float]]:
        """Return the figures of the same estimate for every tile, and of a linear model of its OSM
        objects."""
        return regression_baselines(self.train, self.truth, self._linear)

    @cached_property
    def _linear(self) -> Tensor | None:
        """The linear model's estimates [m]; None if the tiles have no objects."""
        if "osm" not in self._lists[0].dataset.modalities:
            return None
        return linear_estimates(*self._lists, self.train, self._chosen, self._statistics)

    def extras(self, metrics: RegressionMetrics, details: list[list[float]]) -> dict[str, Any]:
        """Return what else a result holds: the least and the largest estimate."""
        estimates = [estimate for _, estimate in details]
        return {"estimates": [min(estimates), max(estimates)]}

    @property
    def extras_rules(self) -> dict[str, Rule]:
        """What `extras` must be where a result is read."""
        return {"estimates": Items([Number(), Number()])}

    def remarks(self, result: dict[str, Any]) -> list[str]:
        """Return what a reader of a result must know."""
        seed, (lowest, highest) = result["seed"], result["estimates"]
        if lowest == highest and len(self.truth) > 1:
            remedy = ""
            if self.head.scale.name == "none" and not highest:
                remedy = "; its ReLU is stuck at 0, try target_scale=standard lr=1e-4 lr_multi=10"
            return [f"seed {seed} estimates {format_number(highest)} for every tile{remedy}"]
        names = {"training mean": "the training tiles' mean for every tile",
                 LINEAR: f"the {LINEAR}"}
        return [f"seed {seed} is no better than {names[label]}"
                for label, figures in self.baselines().items() if label in names
                and result["figures"]["rmse"] >= figures["rmse"]]


Problem = Segmentation | Regression
