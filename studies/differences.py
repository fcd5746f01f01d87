"""Which differences between models are real: paired, over the same draws of blocks of tiles.

    python -m studies.differences a=runs/mycity_image b=runs/mycity_fusion
    python -m studies.differences a=runs/one b=runs/other out=runs/one_or_other

Both evaluations must have measured the same tiles, with as many seeds as they like. A difference is
real if its 95 % interval, by the bootstrap of evaluation/intervals.py, excludes 0: what two models
have in common, such as a quarter that is hard for both, cancels in every draw. Seeds are drawn,
too, for each model on its own, where it has several. Folders of several folds are given as a list,
such as a=[runs/f1,runs/f2].
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reports.differences import decimals, in_brackets, signed
from reports.figures import over_in_words
from studies.keys import DIFFERENCES, DifferencesConfig
from utils.cli.command import command
from utils.contents import Fields, Items, Text, Whole, read_json
from utils.errors import CheckpointError, ConfigError
from utils.files import replacing
from utils.outputs import write_json
from utils.tables import label_of, markdown_table

ALL_PAIRS = 4  # cells up to which all are compared with each other
_EVALUATION = Fields({"problem": Text(), "seeds": Items(Whole(least=0), least=1)})


@dataclass(frozen=True)
class Difference:
    """The figure of `cell` less that of `minus`; it is real if `interval` excludes 0."""

    cell: str
    minus: str
    figure: str
    difference: float
    interval: tuple[float, float]

    @property
    def real(self) -> bool:
        return not self.interval[0] <= 0 <= self.interval[1]

    @property
    def in_words(self) -> str:
        """The difference and its interval in three decimals, with signs."""
        return f"{signed(self.difference, decimals)} {in_brackets(self.interval, decimals)}"

    @property
    def record(self) -> dict[str, Any]:
        """What results.json says of it."""
        return {**asdict(self), "real": self.real}

    @property
    def row(self) -> list[str]:
        """What a table says of it."""
        return [self.cell, self.minus, label_of(self.figure),
                f"{signed(self.difference)} {in_brackets(self.interval)}",
                "yes" if self.real else "no"]


HEADER = ("model", "less", "figure", "difference [95% interval]", "real")


@command(DIFFERENCES)
def main(cfg: DifferencesConfig) -> None:
    # these import torch, for which --help and a mistyped key need not wait
    from evaluation.intervals import sampled_figures, seeds_of

    folders = {name: _folders(name, getattr(cfg, name)) for name in ("a", "b")}
    runs = {name: _tallies_of(name, own) for name, own in folders.items()}
    _check_same_tiles(folders, runs)
    samples = {name: sampled_figures(tallies) for name, tallies in runs.items()}
    if not all(samples.values()):
        raise CheckpointError(f"a={_listed(folders['a'])}: its tiles are neighbours of one block, "
                              "expected several blocks to draw from; measure more tiles")
    means = {name: mean_figures(tallies) for name, tallies in runs.items()}
    differences = [difference for figure in means["a"]
                   if (difference := compared("a", "b", figure, means, samples))]
    text = markdown_table(HEADER[2:], [each.row[2:] for each in differences])
    notes = _class_notes(runs)
    tiles = sum(map(len, {frozenset(run.names) for run in runs["a"]}))
    seeds = {count for own in runs.values() for count in seeds_of(own)}
    text = "\n\n".join([f"a = {_listed(folders['a'])}\nb = {_listed(folders['b'])}",
                        f"a less b on the same {tiles} tiles; intervals {over_in_words(seeds)}",
                        text, *notes])
    print(text)
    if cfg.out:
        out = Path(cfg.out)
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "differences.json", {**folders, "means": means,
                                              "differences": [each.record for each in differences],
                                              "notes": notes})
        with replacing(out / "differences.md") as temporary:
            temporary.write_text(f"{text}\n", encoding="utf-8")
        print(f"\nOutputs in {out}: differences.md, differences.json")


def _class_notes(runs: Mapping[str, Sequence[Any]]) -> list[str]:
    """Return a note on each class that counts in unlike shares of two models' runs: where no tile
    of a run has it, its IoU is 0 if the model predicts it, and undefined, left out, if not."""
    from evaluation.intervals import mean_over

    shares: dict[str, dict[str, float]] = {}
    for name, own in runs.items():
        figures = _figures_of(own)
        shares[name] = {figure: float(mean_over(own, [not math.isnan(each[figure])
                                                      for each in figures]))
                        for figure in figures[0] if figure.startswith("iou_")}
    return [f"Note: {label_of(figure)} is in the means of {share:.0%} of a's runs, and of "
            f"{shares['b'][figure]:.0%} of b's: where no tile has the class, it is 0 for a model "
            "that predicts it, and left out for another."
            for figure, share in shares["a"].items()
            if not math.isclose(share, shares["b"][figure])]


def mean_figures(runs: Sequence[Any]) -> dict[str, float]:
    """Return each figure of the Tallies of runs, as `mean_over` has it."""
    from evaluation.intervals import mean_over

    figures = _figures_of(runs)
    return {name: float(mean_over(runs, [each[name] for each in figures])) for name in figures[0]}


def _figures_of(runs: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the figures of each run, Tallies or another with its moments, on all of its tiles."""
    return [run.figures(run.moments.sum(0)) for run in runs]


def compared(cell: str, minus: str, figure: str, means: Mapping[str, Mapping[str, float]],
             samples: Mapping[str, Mapping[str, Any]]) -> Difference | None:
    """Return the difference of two models' figure; None where it is not defined.

    Args:
        means: model -> figure -> value.
        samples: model -> figure -> its value in every draw; the same draws for both.
    """
    from evaluation.intervals import intervals

    if not all(figure in samples[name] for name in (cell, minus)):
        return None
    ends = intervals({figure: samples[cell][figure] - samples[minus][figure]})
    difference = means[cell][figure] - means[minus][figure]
    if math.isnan(difference) or not ends:
        return None
    return Difference(cell, minus, figure, difference, ends[figure])


def differences_of(runs: Mapping[str, Sequence[Any]], means: Mapping[str, float], figure: str,
                   choose: Any = max) -> tuple[list[Difference], dict[str, tuple[float, float]]]:
    """Return the differences between the cells of a study, and the interval of each cell's figures.

    Up to ALL_PAIRS cells are all compared with each other, more with the best of them; cells on
    other tiles than the best are compared with the best on theirs.

    Args:
        runs: cell -> Tallies of its runs; only cells whose runs all have them.
        means: cell -> its figure.
        figure: that is compared.
        choose: max if more of it is better, else min.
    """
    from evaluation.intervals import intervals, sampled_figures

    samples = {cell: sampled_figures(tallies) for cell, tallies in runs.items()}
    alike: dict[Any, list[str]] = {}
    for cell, tallies in runs.items():
        if not math.isnan(means[cell]):
            alike.setdefault(frozenset(frozenset(run.names) for run in tallies), []).append(cell)
    differences = []
    for cells in alike.values():
        best = choose(cells, key=means.get)
        pairs = ([(best, cell) for cell in cells if cell != best] if len(cells) > ALL_PAIRS
                 else [sorted(pair, key=means.get, reverse=choose is max)
                       for pair in itertools.combinations(cells, 2)])
        differences += [difference for cell, minus in pairs if (difference := compared(
            cell, minus, figure, {name: {figure: means[name]} for name in (cell, minus)},
            samples))]
    return differences, {cell: intervals(sample) for cell, sample in samples.items()}


def _folders(key: str, value: Any) -> list[str]:
    """Return the folders that a key gives, one or a list."""
    folders = [value] if isinstance(value, str) else value
    if not isinstance(folders, list) or not all(isinstance(each, str) for each in folders):
        raise ConfigError(f"{key}={value}: expected the folder of a finished evaluation, or a list "
                          f"of them such as {key}=[runs/f1,runs/f2]")
    return folders


def _listed(folders: Sequence[str]) -> str:
    return folders[0] if len(folders) == 1 else f"[{','.join(folders)}]"


def _tallies_of(key: str, folders: Sequence[str]) -> list[Any]:
    """Return the Tallies of all seeds of finished evaluations; raise CheckpointError if one has
    none."""
    from evaluation.results import read_seed

    tallies = []
    for folder in map(Path, folders):
        record = read_json(folder / "results.json", _EVALUATION,
                           f"give the folder of a finished evaluation as {key}=", CheckpointError)
        for seed in record["seeds"]:
            of_seed = read_seed(folder / f"seed_{seed}")
            if of_seed is None:
                raise CheckpointError(
                    f"{folder}: seed {seed} has no record of its tiles, as one made by an earlier "
                    "version; run the evaluation again with a new save_path=")
            tallies.append(of_seed)
    return tallies


def _check_same_tiles(folders: Mapping[str, Sequence[str]],
                      runs: Mapping[str, Sequence[Any]]) -> None:
    """Raise CheckpointError unless both are of one problem and the same tiles."""
    a, b = runs["a"], runs["b"]
    which = " ".join(f"{name}={_listed(own)}" for name, own in folders.items())
    if (a[0].problem, a[0].classes) != (b[0].problem, b[0].classes):
        what = [f"a {run.problem} of {', '.join(run.classes) or 'totals'}" for run in (a[0], b[0])]
        raise CheckpointError(f"{which}: are {what[0]}, and {what[1]}, expected the same "
                              "problem; give two evaluations of one")
    tiles = [{name for run in of for name in run.names} for of in (a, b)]
    sets = [{frozenset(run.names) for run in of} for of in (a, b)]
    if sets[0] != sets[1]:
        raise CheckpointError(f"{which}: measured other tiles: {len(tiles[0])} and "
                              f"{len(tiles[1])}, {len(tiles[0] & tiles[1])} of them the same, "
                              "expected the same; measure both with the same test_file= and fold=")
    protocols = [each[0].protocol for each in (a, b)]
    if protocols[0] != protocols[1]:
        raise CheckpointError(f"{which}: were judged with protocol={protocols[0]} and "
                              f"{protocols[1]}, which define IoU and F1 differently; measure both "
                              "with the same protocol=")
    if _cells_of(a) != _cells_of(b):
        raise CheckpointError(f"{which}: the same tiles lie in other places of their cities' "
                              "grids, so blocks of neighbours differ; measure both on one "
                              "dataset")
    if a[0].problem == "regression" and not _same_totals(a, b):
        raise CheckpointError(f"{which}: the tiles have other totals, expected the same target=; "
                              "give two evaluations of one")


def _cells_of(runs: Sequence[Any]) -> dict[str, list[int]]:
    """Return column and row of each tile."""
    return {name: cell for run in runs
            for name, cell in zip(run.names, run.cells.tolist(), strict=True)}


def _same_totals(a: Sequence[Any], b: Sequence[Any]) -> bool:
    """Whether the tiles of runs have the same true totals."""
    of_a, of_b = ({name: total for run in of for name, total in
                   zip(run.names, run.values["true"].tolist(), strict=True)} for of in (a, b))
    return of_a == of_b


if __name__ == "__main__":
    main()
