"""The section of a pretraining run: what it lost, what it reconstructs, where its objects look,
and how it was set."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from reports.attention import attention_viewer
from reports.chart import Series, bar_chart, line_chart
from reports.markup import Markup, element
from reports.parts import Block, Section, facts, pictured, settings
from reports.read import csv_rows, json_object, number, reading
from reports.record import ATTENTION, RECONSTRUCTION
from utils.tables import format_number

METRICS, RECORD, CONFIG = "metrics.csv", "loss_record.txt", "config.yaml"
_COLUMNS = ("epoch", "global_step", "image_loss", "osm_loss", "lr", "samples_per_second")
_TELLING = {  # key -> what it is
    "data_path": "tiles", "recipe": "recipe", "image_encoder": "image encoder",
    "total_epoch": "epochs", "batch_size": "tiles a step",
    "lr": "learning rate", "img_mask_ratio": "of an image hidden",
    "osm_mask_ratio": "of OSM objects hidden", "seed": "seed",
}
_PICTURES = {
    "reconstruction_image": ("OSM objects, image, what was shown of it, and its reconstruction, "
                             "of four tiles",
                             "From the OSM objects and the patches that are shown, Rose paints "
                             "the hidden ones. Framed patches are true."),
    "reconstruction_osm": ("Hidden OSM objects on their tiles: true and guessed boxes",
                           "Hidden OSM objects, true in white and guessed in yellow; below, "
                           "their tags and what was guessed."),
}


def is_pretraining(folder: Path) -> bool:
    """Whether a folder holds a pretraining run."""
    return (folder / METRICS).is_file() and (folder / RECORD).is_file()


def pretraining_section(folder: Path) -> Section:
    """The section of the run in `folder`.

    Raises:
        ReportError: one of its files is missing or cannot be read.
    """
    with reading(folder / METRICS, f"a table with the columns {', '.join(_COLUMNS)}"):
        rows = [{name: float(row[name]) for name in _COLUMNS}
                for row in csv_rows(folder / METRICS, _COLUMNS)]
    with reading(folder / CONFIG, "the keys of the run"):
        config = dict(yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8")))
    measured = None
    if (folder / RECONSTRUCTION).is_file():
        with reading(folder / RECONSTRUCTION, "what train_rose.py measured"):
            measured = _Measured(json_object(folder / RECONSTRUCTION))
    blocks = [Block("Losses",
                    [_curves(rows)] if rows else [element("p", "No step was recorded.")])]
    blocks.append(Block("What it reconstructs",
                        [*(measured.content() if measured else []), *_pictures(folder)]))
    if (folder / ATTENTION).is_file():
        blocks.append(Block("Where OSM objects look in the image",
                            [attention_viewer(folder / ATTENTION)]))
    blocks.append(Block("How it was set", [_settings(config)]))
    headline = [*_losses(rows), *(measured.headline() if measured else [])]
    return Section("Pretraining", f"Rose pretrained: {folder.resolve().name}", folder,
                   _lines(rows), headline, blocks)


def _lines(rows: Sequence[Mapping[str, float]]) -> list[str]:
    if not rows:
        return []
    last = rows[-1]
    return ["Rose learned to paint hidden parts of aerial images from OpenStreetMap, and hidden "
            f"map objects from images, for {last['global_step']:,.0f} steps. The record ends in "
            f"epoch {last['epoch']:,.0f}."]


def _losses(rows: Sequence[Mapping[str, float]]) -> list[tuple[str, str, str]]:
    if not rows:
        return []
    names = {"image_loss": "loss, image from OSM", "osm_loss": "loss, OSM from image"}
    return [(title, format_number(rows[-1][name]), f"{format_number(rows[0][name])} at first")
            for name, title in names.items()]


def _curves(rows: Sequence[Mapping[str, float]]) -> Markup:
    steps = [row["global_step"] for row in rows]
    charts = [line_chart(title, "step", steps, [Series(label, tone, [row[name] for row in rows])])
              for name, title, label, tone in (
        ("image_loss", "Loss, image from OSM", "mean squared error", "image"),
        ("osm_loss", "Loss, OSM from image", "mean squared error", "osm"),
        ("lr", "Learning rate", "learning rate", "plain"),
        ("samples_per_second", "Speed", "tiles a second", "plain"))]
    return element("div", charts, class_="charts")


class _Measured:
    """reconstruction.json: what Rose makes of hidden patches and objects, against guessing without
    it."""

    def __init__(self, record: Mapping[str, Any]):
        self.tiles, self.objects, self.tags = (int(record[name])
                                               for name in ("tiles", "objects", "tags"))
        self.pixel, self.mean_colour, self.right, self.commonest = (number(record[name])
                                                                    for name in (
            "pixel_error", "pixel_error_mean_colour", "tags_right", "tags_commonest"))
        self.explained = {str(name): number(value) for name, value in record["explained"].items()}

    def headline(self) -> list[tuple[str, str, str]]:
        found = [("grey values off, hidden pixels", f"{self.pixel:.1f}",
                  f"{self.mean_colour:.1f} with the mean colour")]
        if self.objects:
            found.append(("hidden tags named right", f"{self.right:.0%}",
                f"{self.commonest:.0%} by always the commonest of {self.tags}"))
        return found

    def content(self) -> list[Markup]:
        if not self.explained:
            return []
        rows = [(name, value, None, None) for name, value in self.explained.items()]
        return [element("div", element("h4", "OSM from image, by group of features"),
                        bar_chart(rows),
                        element("p", f"Share of the variance explained, of {self.objects:,} "
                                     f"hidden objects on {self.tiles} tiles; 1: exact, 0 or less: "
                                     "no better than the mean object.", class_="note"),
                        class_="narrow")]


def _pictures(folder: Path) -> list[Markup]:
    return [pictured(folder / "figures" / f"{name}.png", alt, caption)
            for name, (alt, caption) in _PICTURES.items()
            if (folder / "figures" / f"{name}.png").is_file()]


def _settings(config: Mapping[str, Any]) -> Markup:
    telling = {title: _shown(config[name]) for name, title in _TELLING.items() if name in config}
    return element("div", facts(telling), settings(config, "All keys"))


def _shown(value: Any) -> str:
    return "by the batch size" if value is None else str(value)
