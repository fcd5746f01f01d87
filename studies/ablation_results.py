"""The results of the ablation: a row a run in a table that keeps earlier rows, and a page of means
with the differences to plus and to rose."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from studies.ablation_plan import REFERENCES, Variant
from studies.benchmark_plan import Cell
from studies.benchmark_results import Result, Results, blocks_in_words, difference
from studies.command import written
from studies.differences import Difference
from studies.keys import AblationConfig
from utils.errors import RoseError
from utils.files import replacing
from utils.outputs import write_csv
from utils.tables import NOTHING, markdown_table

SCORE = "miou"
COLUMNS = ("variant", "keys", "training", "labels", "fold", "seed", SCORE, "seconds", "source")
_MEASURED = (SCORE, "seconds")  # the other columns say which run it is
# keys of an experiment, which all its rows share
_SHARED = ("pretrain_epochs", "effort", "folds", "block", "tile_px", "label_column", "classes")
_LARGEST = 64 << 20             # bytes of a table that is read


def write_outputs(cfg: AblationConfig, rest: Sequence[str], city: str,
                  variants: Sequence[Variant], results: Results, notes: Sequence[str]) -> None:
    """Write the table of runs and the page of means, each whole or as it was, and print the page.

    Raises:
        RoseError: there is a table with other columns, or one that cannot be read.
    """
    path = table_of(cfg)
    source = source_of(cfg, rest, city)
    by_folder = {variant.folder: variant for variant in variants}
    rows = [{"variant": by_folder[cell.row].name, "keys": by_folder[cell.row].in_words,
             "training": cell.training, "labels": cell.labels, "fold": run["fold"],
             "seed": run["seed"], SCORE: f"{run[SCORE]:.4f}", "seconds": f"{run['seconds']:.1f}",
             "source": source} for cell, result in results.items() for run in result.runs]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(path, merged(read_rows(path), rows))
    text = "\n\n".join([f"# {city}: what each ingredient is worth", *_head(cfg, results, notes),
                        *_tables(variants, results)])
    page = Path(cfg.out, "ablations.md")
    with replacing(page) as temporary:
        temporary.write_text(f"{text}\n", encoding="utf-8")
    print(f"\n{text}\n\nOutputs: {page}, and a row a run in {path}")


def source_of(cfg: AblationConfig, rest: Sequence[str], city: str) -> str:
    """Return the experiment that a row is of: all that its figure depends on, beside the columns
    of the table."""
    return ", ".join([f"studies.ablation of {city}", cfg.image_encoder, *(
        f"{name}={written(getattr(cfg, name))}" for name in _SHARED),
        f"pretraining of seed {cfg.seeds[0]}", *rest])


def table_of(cfg: AblationConfig) -> Path:
    """Return the table of runs."""
    return Path(cfg.table) if cfg.table else Path(cfg.out, "ablations.csv")


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table of runs; none if there is no table. Raise RoseError if it has
    other columns, or cannot be read."""
    remedy = "name another table=, or move that file away"
    if path.is_dir():
        raise RoseError(f"{path}: is a folder, expected a table of runs; name another table=, such "
                        f"as table={path / 'ablations.csv'}")
    if not path.is_file():
        return []
    if path.stat().st_size > _LARGEST:
        raise RoseError(f"{path}: has {path.stat().st_size:,} bytes, expected a table of runs of "
                        f"at most {_LARGEST:,}; {remedy}")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *lines = [*csv.reader(file, strict=True)] or [[]]
    except (csv.Error, UnicodeDecodeError) as error:
        raise RoseError(f"{path}: is no table of runs ({error}), expected CSV in UTF-8; "
                        f"{remedy}") from error
    if header != [*COLUMNS]:
        raise RoseError(f"{path}: has the columns {','.join(header)[:200]}, expected "
                        f"{','.join(COLUMNS)}; {remedy}")
    if wrong := [number for number, line in enumerate(lines, 2) if len(line) != len(header)]:
        raise RoseError(f"{path}: line {wrong[0]} has {len(lines[wrong[0] - 2])} values, expected "
                        f"{len(header)}; mend it, or {remedy}")
    return [dict(zip(header, line, strict=True)) for line in lines]


def merged(before: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> list[dict]:
    """Return earlier rows and new ones; of two of the same run, the new one in the earlier's
    place. Earlier rows of equal runs, as of a loop that made some twice, all stay."""
    new = {_run_of(row): row for row in rows}
    kept = [new.pop(_run_of(row), row) for row in before]
    return [*kept, *new.values()]


def _run_of(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in COLUMNS if name not in _MEASURED)


def _head(cfg: AblationConfig, results: Results, notes: Sequence[str]) -> list[str]:
    how = blocks_in_words([*results.values()])
    many = len(cfg.seeds) > 1
    return [
        f"mIoU of land use on the val tiles of fold {' and '.join(map(str, cfg.on))} of "
        f"{cfg.folds}, seed{'s' * many} {' and '.join(map(str, cfg.seeds))}; "
        f"{cfg.image_encoder}, {cfg.pretrain_epochs} epoch{'s' * (cfg.pretrain_epochs > 1)} of "
        f"pretraining once a variant, effort {cfg.effort:g}. Models are as the last epoch left "
        "them: val chose nothing, and no list of test tiles was read. These tiles are the test "
        f"tiles of fold {' and '.join(str(fold % cfg.folds + 1) for fold in cfg.on)}, whose test "
        "figures a choice made here flatters.",
        "In brackets the 95 % interval of the same draws for both models" + (
            f" ({how})" if how else "") + ", bold if it excludes 0. All seeds of a variant share "
        "one pretraining, so how far another pretraining would move a figure is not in it. Beside "
        "it stands in how many of the pairs of equal fold and seed the variant is better.",
        "From scratch, a variant that differs in pretraining alone is no variant, and has no row.",
        *(f"Note: {note}." for note in notes)]


def _tables(variants: Sequence[Variant], results: Results) -> list[str]:
    """Return a section for each training and number of labels."""
    sections, by_name = [], {variant.name: variant for variant in variants}
    references = [by_name[name] for name in REFERENCES if name in by_name]
    for training, labels in dict.fromkeys((cell.training, cell.labels) for cell in results):
        cells = {variant.name: cell for variant in variants if (cell := Cell(
            "land_use", variant.folder, training, labels)) in results}
        header = ["variant", "mIoU"]
        for reference in references:
            header += [f"less {reference.name}", "better"]
        rows = [[name, _with_interval(results[cell]), *(
            text for reference in references
            for text in _compared(results, cell, cells.get(reference.name)))]
            for name, cell in cells.items()]
        start = "from scratch" if training == "scratch" else training
        sections.append(f"## {start}, {labels} labels\n\n{markdown_table(header, rows)}")
    return sections


def _with_interval(result: Result) -> str:
    mean, ends = result.spread[SCORE][0], result.intervals.get(SCORE)
    return f"{mean:.3f}" + (f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else "")


def _compared(results: Results, cell: Cell, reference: Cell | None) -> tuple[str, str]:
    """Return the difference to a reference, and in how many pairs of runs it is positive."""
    if reference is None or reference == cell:
        return NOTHING, NOTHING
    others = {(run["fold"], run["seed"]): run[SCORE] for run in results[reference].runs}
    pairs = [run[SCORE] - others[run["fold"], run["seed"]] for run in results[cell].runs
             if (run["fold"], run["seed"]) in others]
    each = difference(results, cell, reference)
    words = _signed(each) if each else f"{sum(pairs) / len(pairs):+.3f}"
    return words, f"{sum(pair > 0 for pair in pairs)} of {len(pairs)}"


def _signed(each: Difference) -> str:
    return f"**{each.in_words}**" if each.real else each.in_words
