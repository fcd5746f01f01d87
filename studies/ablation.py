"""What each ingredient of a recipe is worth on a real city, in one command, on validation tiles.

    python -m studies.ablation data=CITY
    python -m studies.ablation data=CITY table=docs/ablations.csv effort=1 pretrain_epochs=16
    python -m studies.ablation data=CITY variants=[plus,plus:neighbours=4,rose:placement=coverage]
    python -m studies.ablation data=CITY variants=[plus,rose] seeds=[0] on=[1] labels=[100] \\
        pretrain_epochs=1 effort=0.1                                               # minutes

A variant is a recipe with keys changed. By default: plus, rose, plus without each of the keys in
which the two differ in land use, rose with each of them alone, and plus with each candidate of
studies/ablation_plan.py. Each is pretrained once, then trained for land use on some folds and
seeds, pretrained and from scratch, and measured on the fold's val tiles as it is after the last
epoch: nothing is chosen on them, and the fold's list of test tiles is never read. The same command
continues after a stop; with more variants, folds or seeds it adds them.
"""

import time
from pathlib import Path

from studies.command import alone, check_among, check_labels, check_not_set, check_several
from studies.keys import ABLATION, AblationConfig
from utils.cli.command import command
from utils.errors import ConfigError


@command(ABLATION)
@alone
def main(cfg: AblationConfig, rest: list[str]) -> None:
    # these import torch and timm, for which --help and a mistyped key need not wait
    from studies.ablation_plan import TRAININGS, cells_of, variants_of
    from studies.ablation_results import read_rows, table_of, write_outputs
    from studies.ablation_runs import SET_HERE, Ablation, check_variants
    from studies.benchmark_data import find_city, labelled_lists, prepare_city, text_of
    from studies.benchmark_results import read_result
    from studies.benchmark_runs import check_encoder, most_labels
    from studies.units import account, default_workers, run_units

    check(cfg, TRAININGS)
    check_not_set(rest, SET_HERE)
    read_rows(table_of(cfg))  # one that rows cannot be added to is refused now, too
    check_encoder(cfg)
    begun = time.monotonic()
    variants = variants_of(cfg.variants)
    check_variants(variants, rest, cfg.accelerator)
    root, rows = Path(cfg.out, "tiles"), {variant.folder: variant.row for variant in variants}
    Ablation(cfg, tuple(rest), {"hash": root}, most_labels(cfg.labels), 0, rows).check(
        cells_of(variants, cfg.trainings, cfg.labels))  # now, before hours of work
    city = find_city(cfg.data, ["land_use"])
    prepare_city(city, cfg, root, text_of(None))
    lists, tiles, notes = labelled_lists(cfg, root)
    cells = cells_of(variants, cfg.trainings, [*lists])
    ablation = Ablation(cfg, tuple(rest), {"hash": root}, lists, tiles, rows)
    ablation.check(cells)
    workers = cfg.workers or default_workers(cfg.accelerator)
    times = run_units(ablation.pretrainings(cells), workers, "Pretraining")
    units = ablation.trainings(cells)
    times |= run_units(units, workers, "Training")
    seconds = {folder: spent for unit in units for folder, spent in unit.times().items()}
    results = {cell: read_result(cell, ablation.out, [
        unit.folder for unit in units if unit.cells[0][0] == cell], seconds) for cell in cells}
    write_outputs(cfg, rest, city.name, variants, results, notes)
    print(account(times, begun))


def check(cfg: AblationConfig, trainings: tuple[str, ...]) -> None:
    """Raise ConfigError for a key that lists what is not there."""
    for key in ("seeds", "on"):
        check_several(key, getattr(cfg, key))
    check_labels(cfg.labels)
    check_among("trainings", cfg.trainings, trainings)
    if max(cfg.on) > cfg.folds:
        raise ConfigError(f"on=[{','.join(map(str, cfg.on))}]: there is no fold {max(cfg.on)} of "
                          f"folds={cfg.folds}; choose among 1 to {cfg.folds}")


if __name__ == "__main__":
    main()
