"""The outputs of the attention study: a table of objects, figures, and a summary in words."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from datasets import TileDataset
from datasets.stores.city import city_of
from models.network_file import NetworkFile
from reports import REPORT, write_report
from studies.attention_mass import ObjectAttention
from studies.keys import AttentionConfig
from utils.drawing import save_figure
from utils.outputs import write_csv, write_json

COLUMNS = ("tile", "node", "tag", "box_share", "attention_share", "lift",
           "attention_share_of_others")
# two lifts that differ by less, or by less than two standard errors, count as equal
NOTABLE = 0.05


def write(cfg: AttentionConfig, network: NetworkFile, objects: ObjectAttention,
          changed: Mapping[str, ObjectAttention], summary: dict, tiles: TileDataset,
          figures: dict[str, Figure]) -> None:
    """Write attention.csv, change.csv, results.json, figures/ and their page into save_path, each
    whole or not at all."""
    folder = Path(cfg.save_path)
    folder.mkdir(parents=True, exist_ok=True)
    cities = sorted({city_of(tiles.names[index]) or "" for index in np.unique(objects.tile)})
    numbers = (objects.box_share, objects.share, objects.lift, objects.others_share)
    write_csv(folder / "attention.csv",
              [dict(zip(COLUMNS, (tiles.names[index], node, tiles.tag(index, code),
                                  *(f"{value:.6g}" for value in values)), strict=True))
               for index, node, code, *values in zip(objects.tile, objects.node, objects.code,
                                                     *numbers, strict=True)])
    write_csv(folder / "change.csv", [
        {"fusion": mode, "tile": tiles.names[index], "node": node, "box_share": f"{box:.6g}",
         "change_share": f"{share:.6g}"}
        for mode, each in changed.items()
        for index, node, box, share in zip(each.tile, each.node, each.box_share, each.share,
                                           strict=True)])
    write_json(folder / "results.json", {
        **summary, "tiles_with_objects": len(np.unique(objects.tile)),
        "checkpoint": str(network.path), "checkpoint_sha256": network.sha256,
        "network": network.build, "cities": cities,
        "config": asdict(cfg), **({"verdict": verdict(summary)} if summary["objects"] else {}),
    })
    for name, figure in figures.items():
        save_figure(figure, folder / "figures" / f"{name}.png")
    write_report([folder], folder / REPORT)


def in_words(cfg: AttentionConfig, checkpoint: Path, objects: ObjectAttention, summary: dict,
             figures: dict[str, Figure]) -> str:
    """Return a summary of the figures, whichever way they fall."""
    lines = ["", f"Where {len(objects)} OSM objects of {len(np.unique(objects.tile))} tiles look "
                 f"in the image, by {checkpoint}:"]
    if summary["objects"]:
        heads = sorted(summary["heads"], key=lambda head: head["lift"])
        lines += [
            f"  {summary['attention_share']:.2%} of an object's attention falls inside its own "
            f"box, which covers {summary['box_share']:.2%} of the tile: lift "
            f"{summary['lift']:.2f} ± {summary['lift_standard_error']:.2f} (standard error; 1: no "
            "more than chance)",
            "  other objects of its tile give that box "
            f"{summary['attention_share_of_others']:.2%}: lift {summary['lift_of_others']:.2f}",
            f"  {summary['objects_above_uniform']:.0%} of the objects have a lift above 1; the "
            f"median is {summary['median_lift']:.2f}",
            f"  by head: from {heads[0]['lift']:.2f} (head {heads[0]['head']}) to "
            f"{heads[-1]['lift']:.2f} (head {heads[-1]['head']})",
            f"  {'box, in patches':18}{'objects':>9}{'lift':>8}{'of others':>11}",
            *(f"  {size['patches']:18}{size['objects']:9}{size['lift']:8.2f}"
              f"{size['lift_of_others']:11.2f}" for size in summary["sizes"]),
            verdict(summary),
            "  where the fused image changes without the object, of up to four a tile:",
            *(f"  {mode} fusion: {each['attention_share']:.2%} of the change is on its own box, "
              f"of {each['box_share']:.2%} of the tile: lift {each['lift']:.2f} ± "
              f"{each['lift_standard_error']:.2f}"
              for mode, each in summary["fusions"].items()),
        ]
    if summary["without_box"]:
        lines.append(f"  {summary['without_box']} objects, whose box has no area in the tile, are "
                     "left out of these figures")
    lines += [f"Outputs in {cfg.save_path}:", f"  {REPORT}    a page for the browser",
              "  attention.csv  each object's shares",
              "  change.csv     the same of its change of the fused image",
              "  results.json   the figures above", *(f"  figures/{name}.png" for name in figures)]
    return "\n".join(lines)


def verdict(summary: dict) -> str:
    """Return the conclusion in a sentence."""
    lift, others = summary["lift"], summary["lift_of_others"]
    margin = max(NOTABLE, 2 * summary["lift_standard_error"])  # NOTABLE if the latter is nan
    if lift < 1 + margin:
        return ("So objects look at their own place no more than chance would have it: this "
                "checkpoint does not tie objects to their place.")
    if lift < others + margin:
        return (f"So objects look at such places {lift:.2f} times as much as chance would have "
                "it, but hardly more at their own than other objects do: little ties them to it.")
    return (f"So objects look at their own place: {lift:.2f} times as much as chance would have "
            f"it, {lift / others:.2f} times as much as other objects do.")
