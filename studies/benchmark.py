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
from studies.keys import BENCHMARK, BenchmarkConfig
from utils.cli.command import command
from utils.errors import ConfigError


@command(BENCHMARK)
@alone
def main(cfg: BenchmarkConfig, rest: list[str]) -> None:
    # these import torch and timm, for which --help and a mistyped key need not wait
    from studies.benchmark_data import find_city, labelled_lists, prepare_city, text_of
    from studies.benchmark_page import write_outputs
    from studies.benchmark_plan import MISSING, PARTS, ROWS, TASKS, Cell, planned
    from studies.benchmark_results import read_result
    from studies.benchmark_runs import SET_HERE, Bench, base_config
    from studies.units import account, default_workers, run_units
    from training.own_city import width_of

    check_choices(cfg, {"tasks": [*TASKS], "parts": [*PARTS, MISSING], "rows": [*ROWS]})
    check_not_set(rest, SET_HERE)
    width_of(cfg.image_encoder)  # one that there is not is refused now, before hours of work
    begun = time.monotonic()
    city = find_city(cfg.data, cfg.tasks or [*TASKS])
    parts = cfg.parts or [*PARTS, MISSING]
    cells = planned(parts, city.tasks, cfg.rows, cfg.labels, cfg.sentence_model is not None)
    for cell in cells:  # keys are refused now, before hours of work
        task, row = TASKS[cell.task], ROWS[cell.row]
        base = base_config(task.problem, task.target, row.recipe, tuple(rest), cfg.accelerator)
        if row.statistics and base.osm_reads != "all":
            raise ConfigError(f"osm_reads={base.osm_reads}: the row {cell.row} reads all of an "
                              "object; leave such rows out with rows=, or the part baselines with "
                              "parts=")
    notes = list(city.notes)
    if "text" in parts and cfg.sentence_model is None and any(
            row in (cfg.rows or ROWS) for group in PARTS["text"] for row in group.rows):
        notes.append("text=sentence is left out: no sentence_model= was given")
    roots, prepared = {}, []
    for text in sorted({cell.text for cell in cells}):
        roots[text] = Path(cfg.out, "tiles" if text == "hash" else f"tiles_{text}")
        prepared.append(prepare_city(city, cfg, roots[text],
                                     text_of(None if text == "hash" else cfg.sentence_model)))
    lists, tiles, short = labelled_lists(cfg, next(iter(roots.values())))
    notes += short
    cells = {cell: seeds for cell, seeds in cells.items() if cell.labels in lists}
    if not cells:
        raise ConfigError(f"labels=[{','.join(cfg.labels)}]: {'; '.join(short)}; no cell that was "
                          "asked for remains, pass labels=[all], or fewer")
    bench = Bench(cfg, tuple(rest), roots, lists, tiles)
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
    if cfg.sentence_model is not None and not Path(cfg.sentence_model).is_dir():
        raise ConfigError(f"sentence_model={cfg.sentence_model}: no such folder, expected that of "
                          "a sentence model with its tokenizer; without the key the part text is "
                          "left out")
    for key, allowed in choices.items():
        if getattr(cfg, key) is not None:
            check_among(key, getattr(cfg, key), allowed)


if __name__ == "__main__":
    main()
