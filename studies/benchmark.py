"""All claims on a real city, in one command: from raw files to a page of tables with intervals.

    python -m studies.benchmark data=CITY
    python -m studies.benchmark data=CITY seeds=[0] parts=[baselines,main]       # a first look
    python -m studies.benchmark data=CITY page=docs/results_real.md effort=2
    python -m studies.benchmark data=CITY folds=3 seeds=[0] labels=[25] rows=[image,fusion] \\
        pretrain_epochs=1 effort=0.1 out=runs/benchmark_quick                    # minutes

The folder of a city has ortho.* or city.* (imagery) and osm.*, and of landuse.* (classes),
building_volume.* and height.* (rasters) those that there are: each is a task. Tiles, targets and
spatial folds are made, a network is pretrained without labels for each recipe and seed, and the
cells of the table in studies/benchmark_plan.py are trained and measured. Every key of the
evaluations can be given, too. The same command continues after a stop, however it came about, and
only reads what is finished; with more seeds or parts it makes these. The page has what the command
asks for.
"""

import time
from pathlib import Path

from studies.command import alone, check_among, check_labels, check_not_set, check_several
from studies.keys import BENCHMARK, DEFAULT_LABELS, BenchmarkConfig
from utils.cli.command import command
from utils.errors import ConfigError


@command(BENCHMARK)
@alone
def main(cfg: BenchmarkConfig, rest: list[str]) -> None:
    # these import torch and timm, for which --help and a mistyped key need not wait
    from studies.benchmark_data import find_city, labelled_lists, prepare_city, text_of
    from studies.benchmark_page import write_outputs
    from studies.benchmark_plan import (
        MISSING,
        PARTS,
        ROWS,
        TASKS,
        Cell,
        planned,
        without_cells,
    )
    from studies.benchmark_results import read_result
    from studies.benchmark_runs import SET_HERE, Bench, check_encoder, most_labels
    from studies.units import account, default_workers, run_units

    check_choices(cfg, {"tasks": [*TASKS], "parts": [*PARTS, MISSING], "rows": [*ROWS]})
    check_not_set(rest, SET_HERE)
    check_encoder(cfg)
    begun = time.monotonic()
    city = find_city(cfg.data, cfg.tasks or [*TASKS])
    parts = cfg.parts or [*PARTS, MISSING]
    cells = planned(parts, city.tasks, cfg.rows, cfg.labels, cfg.sentence_model is not None)
    roots = {text: Path(cfg.out, "tiles" if text == "hash" else f"tiles_{text}")
             for text in sorted({cell.text for cell in cells})}
    # now, before hours of work
    Bench(cfg, tuple(rest), roots, most_labels(cfg.labels), 0).check(cells)
    asked = {"rows": cfg.rows, "tasks": cfg.tasks and city.tasks,
             "labels": None if cfg.labels == DEFAULT_LABELS else cfg.labels}
    notes = [*city.notes, *without_cells(asked, cells)]
    if "text" in parts and cfg.sentence_model is None and any(
            row in (cfg.rows or ROWS) for group in PARTS["text"] for row in group.rows):
        notes.append("text=sentence is left out: no sentence_model= was given")
    prepared = [prepare_city(city, cfg, root, text_of(
        None if text == "hash" else cfg.sentence_model)) for text, root in roots.items()]
    lists, tiles, short = labelled_lists(cfg, next(iter(roots.values())))
    notes += short
    cells = {cell: seeds for cell, seeds in cells.items() if cell.labels in lists}
    if not cells:
        raise ConfigError(f"labels=[{','.join(cfg.labels)}]: {'; '.join(short)}; no cell that was "
                          "asked for remains, pass labels=[all], or fewer")
    bench = Bench(cfg, tuple(rest), roots, lists, tiles)
    bench.check(cells)
    workers = cfg.workers or default_workers(cfg.accelerator)
    times = {} if None in prepared else {"preparing": sum(prepared)}
    times |= run_units(bench.pretrainings(cells), workers, "Pretraining")
    units = bench.trainings(cells)
    times |= run_units(units, workers, "Training")
    if MISSING in parts:
        measured = bench.measurings(cells)
        times |= run_units(measured, workers, "Measuring with objects removed and shifted")
        units += measured
    seconds = {folder: spent for unit in units for folder, spent in unit.times().items()}
    folders: dict[Cell, list[Path]] = {}
    for unit in units:
        for cell, run in unit.cells:
            folders.setdefault(cell, []).append(Path(run.save_path))
    results = {cell: read_result(cell, bench.out, own, seconds) for cell, own in folders.items()}
    print("Drawing intervals, and comparing cells", flush=True)
    write_outputs(cfg, rest, city, results, notes, times, workers)
    print(f"\n{account(times, begun)}")


def check_choices(cfg: BenchmarkConfig, choices: dict[str, list[str]]) -> None:
    """Raise ConfigError for a key that names what is not there."""
    check_several("seeds", cfg.seeds)
    check_labels(cfg.labels)
    if cfg.page and Path(cfg.page).is_dir():
        raise ConfigError(f"page={cfg.page}: is a folder, expected the file to write; name one, "
                          f"such as page={Path(cfg.page, 'results_real.md')}")
    if cfg.sentence_model is not None and not Path(cfg.sentence_model).is_dir():
        raise ConfigError(f"sentence_model={cfg.sentence_model}: no such folder, expected that of "
                          "a sentence model with its tokenizer; without the key the part text is "
                          "left out")
    for key, allowed in choices.items():
        if getattr(cfg, key) is not None:
            check_among(key, getattr(cfg, key), allowed)


if __name__ == "__main__":
    main()
