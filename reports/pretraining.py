"""The section of a pretraining run: losses, reconstructions, where objects look, and keys."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reports.attention import attention_viewer
from reports.blocks import Block, Section, drawn, facts, settings
from reports.markup import Markup, element
from reports.read import csv_rows, json_object, number, reading, yaml_object
from reports.record import ATTENTION, RECONSTRUCTION
from utils.tables import format_number

METRICS, RECORD, CONFIG = "metrics.csv", "loss_record.txt", "config.yaml"
_COLUMNS = ("epoch", "global_step", "image_loss", "osm_loss")
_LOSSES = {"image_loss": "loss, image from OSM", "osm_loss": "loss, OSM from image",
           "contrast_loss": "loss, objects and their patches"}
_NORMALISED = (" A hidden patch is painted with its true mean and contrast, which the network does "
               "not learn (image_target=patch_norm).")
_NO_PIXELS = ("The run reconstructed the tokens of a momentum encoder (image_target=latent), so "
              "there is no picture of hidden patches.")
_SETTINGS = {  # key -> what it is
    "data_path": "tiles", "recipe": "recipe", "image_encoder": "image encoder",
    "total_epoch": "epochs", "batch_size": "tiles a step", "lr": "learning rate",
    "img_mask_ratio": "of an image hidden", "osm_mask_ratio": "of OSM objects hidden",
    "seed": "seed",
}


def is_pretraining(folder: Path) -> bool:
    """Return whether a folder holds a pretraining run."""
    return (folder / METRICS).is_file() and (folder / RECORD).is_file()


def pretraining_section(folder: Path) -> Section:
    """Return the section of the run in `folder`; raise ReportError if a file is missing or cannot
    be read."""
    with reading(folder / METRICS, f"a table with the columns {', '.join(_COLUMNS)}"):
        rows = [{name: float(row[name]) for name in {*_COLUMNS, *_LOSSES} if name in row}
                for row in csv_rows(folder / METRICS, _COLUMNS)]
    with reading(folder / CONFIG, "the keys of the run"):
        config = yaml_object(folder / CONFIG)
    target = config.get("image_target", "pixels")
    headline, lines = _losses(rows), _lines(rows, target)
    if (folder / RECONSTRUCTION).is_file():
        with reading(folder / RECONSTRUCTION, "what train_rose.py measured"):
            measured = json_object(folder / RECONSTRUCTION)
            headline += _reconstruction(measured)
            lines += [str(measured["remark"])] if measured.get("remark") else []
    losses = drawn(folder, "loss", "The losses, the learning rate and the speed over the steps",
                   "Above, the losses; below, the learning rate, and the tiles seen a second.")
    blocks = [Block("Losses", [losses if rows else element("p", "No step was recorded.")]),
              Block("What it reconstructs", [
                  drawn(folder, "reconstruction_image",
                        "OSM objects, image, what was shown of it, and its reconstruction, of "
                        "four tiles",
                        "From the OSM objects and the patches that are shown, Rose paints the "
                        "hidden ones. Framed patches are true." + _NORMALISED
                        * (target == "patch_norm")),
                  element("p", _NO_PIXELS) if target == "latent" else None,
                  drawn(folder, "reconstruction_osm",
                        "Variance explained of each group of features; hidden OSM objects on "
                        "their tiles: true and guessed boxes",
                        "Left: the share of the hidden objects' variance that is explained, by "
                        "group of features. Right: hidden objects, true in white and guessed in "
                        "yellow, with their tags and what was guessed.")])]
    if (folder / ATTENTION).is_file():
        blocks.append(Block("Where OSM objects look in the image",
                            [attention_viewer(folder / ATTENTION)]))
    blocks.append(Block("How it was set", [_settings(config)]))
    return Section("Pretraining", f"Rose pretrained: {folder.resolve().name}", folder,
                   lines, headline, blocks)


def _lines(rows: Sequence[Mapping[str, float]], target: str) -> list[str]:
    if not rows:
        return []
    last = rows[-1]
    paint = "foresee an encoder's tokens of" if target == "latent" else "paint"
    return [f"Rose learned to {paint} hidden parts of aerial images from OpenStreetMap, and "
            f"hidden map objects from images, for {last['global_step']:,.0f} steps. The record "
            f"ends in epoch {last['epoch']:,.0f}."]


def _losses(rows: Sequence[Mapping[str, float]]) -> list[tuple[str, str, str]]:
    if not rows:
        return []
    return [(title, format_number(rows[-1][name]), f"{format_number(rows[0][name])} at first")
            for name, title in _LOSSES.items() if name in rows[0]]


def _reconstruction(record: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return how well hidden patches and tags are reconstructed, beside guesses without Rose."""
    tiles, objects, tags = (int(record[name]) for name in ("tiles", "objects", "tags"))
    pixel, mean_colour, right, commonest = (
        number(record[name])
        for name in ("pixel_error", "pixel_error_mean_colour", "tags_right", "tags_commonest"))
    guess = ("each patch's own mean" if record.get("image_target") == "patch_norm"
             else "the mean colour")
    headline = [] if math.isnan(pixel) else [
        ("grey values off, hidden pixels", f"{pixel:.1f}",
         f"{mean_colour:.1f} with {guess}; measured on {tiles:,} tiles")]
    if objects:
        headline.append(("hidden tags named right", f"{right:.0%}",
                         f"{commonest:.0%} by always the commonest of {tags}; measured on "
                         f"{objects:,} objects"))
    return headline


def _settings(config: Mapping[str, Any]) -> Markup:
    shown = {title: "by the batch size" if config[name] is None else str(config[name])
             for name, title in _SETTINGS.items() if name in config}
    return element("div", facts(shown), settings(config, "All keys"))
