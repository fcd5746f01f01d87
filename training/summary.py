"""The end of a pretraining run: figures, a page, and in plain words what was learned."""

import shlex
from dataclasses import asdict

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch_geometric.data import Batch

from datasets.stores.city import city_of
from datasets.tiles import TileDataset
from models import RoseOutput
from models.objectives import IMAGE_ERROR_NAMES, OSM_ERROR_NAMES
from models.rose import Rose
from reports import REPORT, write_report
from reports.record import RECONSTRUCTION
from training import reconstruction
from training.attention import write_attention
from training.keys import TrainConfig
from training.plots import LOSSES, image_figure, loss_figure, osm_figure, to_picture
from training.pretraining import PretrainingRun
from training.reconstruction import GUESSES, Reconstruction, Tags, reconstruct
from training.records import read_metrics
from utils.cli.overrides import written
from utils.cli.program import CONFIG_DIR
from utils.drawing import save_figures
from utils.outputs import write_json
from utils.tables import format_number

SHOWN_TILES, SHOWN_GRAPHS = 4, 3
LISTED_OBJECTS = 8
TELLING = 40  # objects: enough to hide some of them, few enough to see each


def add_picture(run: PretrainingRun) -> None:
    """Show TensorBoard the reconstruction of the same tiles every time, if it is one of pixels."""
    rose = run.network()
    if rose and rose.image_target in GUESSES:
        run.record.picture("reconstruction", to_picture(_picture(rose, run)), run.global_step)


def report(run: PretrainingRun) -> None:
    """Write figures/ and the page of the run, and print the summary; on the first process only."""
    rose = run.network()
    if rose is None:
        return
    run.fabric.print("Measuring what was learned, then drawing figures/ and the page")
    measured = reconstruction.measure_reconstruction(rose, run.tiles, run.cfg.seed)
    figures = {}
    if rose.image_target in GUESSES:
        figures["reconstruction_image"] = _picture(rose, run)
    if rows := read_metrics(run.folder):
        figures["loss"] = loss_figure(rows, _units(run.cfg))
    if measured.explained:
        images, graphs, out = shown(rose, run, SHOWN_GRAPHS)
        figures["reconstruction_osm"] = osm_figure(measured.explained, rose.denormalise(images),
                                                   graphs, out,
                                                   _captions(run.tiles, graphs, out))
    save_figures(figures, run.folder / "figures")
    write_json(run.folder / RECONSTRUCTION, {**asdict(measured), "remark": remark(run, measured)})
    write_attention(rose, run.tiles, telling_tiles(run.tiles, SHOWN_TILES), run.folder)
    write_report([run.folder], run.folder / REPORT)
    run.fabric.print(summary(run, measured))


def shown(rose: Rose, run: PretrainingRun, count: int) -> tuple[Tensor, Batch, RoseOutput]:
    """Return `count` telling tiles and their reconstruction, always with the same masks."""
    return reconstruct(rose, run.tiles, telling_tiles(run.tiles, count), run.cfg.seed)


def telling_tiles(tiles: TileDataset, count: int) -> list[int]:
    """Return the index of one tile from each of `count` equal stretches of the dataset.

    Its number of objects is the nearest to TELLING, among a dozen candidates.
    """
    count = min(count, len(tiles))
    indices = []
    for stretch in range(count):
        first, last = stretch * len(tiles) // count, (stretch + 1) * len(tiles) // count
        candidates = range(first, last, max((last - first) // 12, 1))
        indices.append(min(candidates, key=lambda i: abs(len(tiles.read(i)[1].x) - TELLING)))
    return indices


def remark(run: PretrainingRun, measured: Reconstruction) -> str:
    """Return what the run has not learned, and what to try; "" if it has learned both."""
    if not measured.unlearned:
        return ""
    longer = (f"more than max_steps={run.cfg.max_steps}" if run.cfg.max_steps else
              f"more epochs (total_epoch={2 * run.cfg.total_epoch} in another save_dir=)")
    remedy = (f"{longer}, or more tiles" if run.cfg.blr is None else
              "experiment=own_city in another save_dir=, which chooses encoder, rate and epochs, "
              f"or a larger lr= (here {run.base_lr:.2g}), or {longer}")
    return f"This run has learned too little: {', and '.join(measured.unlearned)}. Try {remedy}."


def summary(run: PretrainingRun, measured: Reconstruction) -> str:
    """Return in words what was learned."""
    lines = [
        "",
        f"Pretraining is done: {run.global_step} steps on {len(run.tiles)} tiles.",
        *(f"  loss, {name}: {format_number(first)} in the first line of the record, "
          f"{format_number(last)} in the last"
          for (name, _), first, last in zip(LOSSES.values(), run.record.first, run.record.latest,
                                            strict=False)),
        *_image_encoder(run),
        f"What it learned, tried on {measured.tiles} of its tiles with new masks:",
        *_pixels(run, measured),
    ]
    if measured.objects:
        lines += [
            f"  hidden map objects ({run.cfg.osm_mask_ratio:.0%}): the tag of "
            f"{measured.tags_right:.0%} of {measured.objects} is named right, out of "
            f"{measured.tags} tags;",
            f"    always naming the commonest{_in_words(run.tiles, measured.commonest)} is right "
            f"for {measured.tags_commonest:.0%}",
        ]
    else:
        lines.append("  hidden map objects: none, for these tiles hold no OSM object")
    if short := remark(run, measured):
        lines.append(f"note: {short}")
    return "\n".join([*lines, *_outputs(run)])


def _pixels(run: PretrainingRun, measured: Reconstruction) -> list[str]:
    """Return how near hidden pixels come, beside a guess without a network."""
    hidden = f"  hidden parts of the picture ({run.cfg.img_mask_ratio:.0%}):"
    if measured.image_target not in GUESSES:
        return [f"{hidden} no pixels to compare, for image_target=latent reconstructs tokens"]
    better = round(100 * (1 - measured.pixel_error / max(measured.pixel_error_mean_colour, 1e-9)))
    compared = f"{abs(better)}% {'less' if better > 0 else 'more'} than"
    normalised = measured.image_target == "patch_norm"
    guess = GUESSES[measured.image_target] + " of what is visible" * (not normalised)
    return [f"{hidden} wrong by {measured.pixel_error:.1f} grey values of 255,",
            *["    given each patch's mean and deviation, which it does not learn;"] * normalised,
            f"    {compared if better else 'no better than'} {guess} would be "
            f"({measured.pixel_error_mean_colour:.1f})"]


def _units(cfg: TrainConfig) -> list[str]:
    """Return what each loss is measured in."""
    units = [IMAGE_ERROR_NAMES[cfg.image_target], OSM_ERROR_NAMES[cfg.osm_loss]]
    return units + [f"{cfg.contrast:g} x InfoNCE"] * (cfg.contrast > 0)


def _image_encoder(run: PretrainingRun) -> list[str]:
    """Return what the image encoder started from and how it was trained, if not like the rest."""
    cfg, lines = run.cfg, []
    if run.image_weights:
        lines.append(f"  the image encoder started from {run.image_weights['path']} (SHA-256 "
                     f"{run.image_weights['sha256'][:12]}...)")
    if cfg.freeze != "none":
        epochs = cfg.freeze.partition(":")[2]
        span = f"for {epochs} epoch{'s' * (epochs != '1')}" if epochs else "throughout"
        lines.append(f"  freeze={cfg.freeze}: the image encoder kept its weights {span}")
    if cfg.layer_decay < 1:
        first, last = run.tuning.shares
        lines.append(f"  layer_decay={cfg.layer_decay:g}: its rates were {first:.2g} (first layer) "
                     f"to {last:.2g} (last block) of lr")
    return lines


def _outputs(run: PretrainingRun) -> list[str]:
    weights = run.last_saved.with_suffix(".safetensors").name
    return [
        f"Outputs in {run.folder}:",
        f"  {REPORT:{len(weights)}}  all of this as one page for the browser: click an OSM object "
        "to see where it looks",
        f"  {'figures/':{len(weights)}}  the loss curves and what Rose reconstructs: look at "
        f"{'reconstruction_image' if run.cfg.image_target in GUESSES else 'loss'}.png",
        f"  {'loss_record.txt':{len(weights)}}  the losses (metrics.csv: with learning rate and "
        "speed; tensorboard --logdir: as curves)",
        f"  {run.last_saved.name:{len(weights)}}  to continue the run",
        f"  {weights}  the weights alone; in Python: "
        f"models.load_rose(\"{run.folder / weights}\")",
        "What it is worth, on tiles with labels (evaluate_pop_fusion.py: on tiles with totals):",
        f"  {shlex.join(_evaluation(run))}",
    ]


def _evaluation(run: PretrainingRun) -> list[str]:
    """Return the command that evaluates the network, with the recipe and the experiment that it was
    trained with: its rates suit that."""
    cfg, program = run.cfg, "evaluate_seg_fusion"
    known = (CONFIG_DIR / program / "experiment" / f"{cfg.experiment}.yaml").is_file()
    return ["python", f"{program}.py", *[f"experiment={cfg.experiment}"] * known,
            *[f"sample_tiles={written(cfg.sample_tiles)}"] * (cfg.experiment == "sample"),
            *[f"recipe={cfg.recipe}"] * (cfg.recipe != "rose"),
            f"data_root={cfg.data_path}", f"checkpoint={run.folder}"]


def _in_words(tiles: TileDataset, code: int) -> str:
    names = next(iter(tiles.label_names.values()), None) if len(tiles.label_names) == 1 else None
    return f" ({_word(code, names)})" if names else ""


def _captions(tiles: TileDataset, graphs: Batch, out: RoseOutput) -> list[list[str]]:
    """Return for each tile the lines of its masked nodes: number, true tag, guessed tag."""
    captions: list[list[str]] = []
    for tile, name in enumerate(graphs.name):
        mine = graphs.batch == tile
        names = tiles.label_names.get(city_of(name) or "")
        tags = Tags.among(torch.cat([graphs.x[mine], _nodes_of_city(tiles, city_of(name))]))
        true_tags = tags.of_nodes[: mine.sum()][out.node_mask[mine]]
        guessed = tags.nearest(out.osm_pred[mine[out.node_mask]])
        lines = []
        for number, (true, guess) in enumerate(zip(true_tags, guessed, strict=True), start=1):
            verdict = "right" if true == guess else _word(int(tags.codes[guess]), names)
            lines.append(f"{number} {_word(int(tags.codes[true]), names)}: guessed {verdict}")
        if len(lines) > LISTED_OBJECTS:
            lines[LISTED_OBJECTS:] = [f"and {len(lines) - LISTED_OBJECTS} more"]
        captions.append(lines)
    return captions


def _nodes_of_city(tiles: TileDataset, city: str | None) -> Tensor:
    """Return nodes [N, F + 1] of some tiles of the city, the range of its label codes."""
    indices = [index for index, name in enumerate(tiles.names) if city_of(name) == city]
    sampled = reconstruction.sample_indices(indices, reconstruction.SAMPLED_TILES)
    return torch.cat([tiles.read(indices[position])[1].x for position in sampled])


def _word(code: int, names: list[str] | None) -> str:
    return names[code] if names and 0 <= code < len(names) else f"tag {code}"


def _picture(rose: Rose, run: PretrainingRun) -> Figure:
    return image_figure(*shown(rose, run, SHOWN_TILES), rose)
