"""How a model fares in a city that it was not trained on.

    python -m studies.transfer data_root=D checkpoint=C
    python -m studies.transfer data_root=D checkpoint=C modality=image train_cities=[lima]
    python -m studies.transfer data_root=D problem=pop test_cities=[oslo] leave_one_out=false

A dataset has several cities where prepare_dataset.py made them in one folder. A model is trained
for each city, on its tiles of the training list; its tiles of val.txt choose the epoch. It is
measured on each city's tiles of test.txt. Of three cities or more a model is trained on all but
one, too, and measured there: `all others`. Every key of the evaluation can be given, too; `cities=`
takes some of the dataset's. The same command continues after a stop, and only reads what is
finished.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.keys import EvaluateConfig
from studies.command import IN_WORDS, alone, base_config, check_several
from studies.degraded import measuring
from studies.keys import TRANSFER, TransferConfig
from utils.cli.command import command
from utils.errors import TileError

if TYPE_CHECKING:
    from studies.grid import Cell

ALL_OTHERS = "all others"


@command(TRANSFER)
@alone
def main(cfg: TransferConfig, rest: list[str]) -> None:
    base = base_config(cfg, rest, {})
    # these import torch and timm, for which --help and a mistyped key need not wait
    from studies.grid import checked, over_folds, run_cells, set_up
    from studies.report import Report

    cities = cities_of_dataset(base)
    sources, targets = (chosen_cities(base, cities, key, getattr(cfg, key))
                        for key in ("train_cities", "test_cities"))
    left_out = targets if cfg.leave_one_out and len(cities) > 2 else ()
    cells = checked(over_folds(cfg, base, lambda cfg, base: [
        *(cell for source in sources for cell in cells_of(cfg, base, source, targets)),
        *(all_but(cfg, base, city, cities) for city in left_out)]))
    for city in targets:  # now, before hours of training
        set_up(replace(base, train_cities=[sources[0]], test_cities=[city],
                       fold=cells[0].runs[0].fold))
    order = [*sources, ALL_OTHERS]
    outcomes = run_cells(cells)
    outcomes.sort(key=lambda outcome: targets.index(outcome.cell.keys["test_city"]))
    outcomes.sort(key=lambda outcome: order.index(outcome.cell.keys["train_city"]))
    report = Report("transfer", "Transfer between cities",
                    f"modality {base.modality}, {IN_WORDS[base.mode]}", Path(cfg.out), cfg, rest,
                    outcomes, "city of the test tiles", same_baselines=False)
    points = {source: report.points("test_city", train_city=source) for source in order}
    report.write({f"trained on {source}": own for source, own in points.items() if own},
                 categorical=True)


def cities_of_dataset(base: EvaluateConfig) -> list[str]:
    """Return the dataset's cities; raise TileError if there is only one."""
    from datasets import TileDataset
    from datasets.sample_city.tiles import ensure_sample
    from datasets.stores.city import cities_of
    from training.devices import launch

    ensure_sample(launch(base), base.data_root, base.sample_tiles)
    cities = cities_of(TileDataset(base.data_root, base.cities, base.image_size).names)
    if len(cities) < 2:
        raise TileError(f"{base.data_root}: has tiles of {len(cities)} city ({', '.join(cities)}), "
                        "expected two or more to transfer between; make those of another one with "
                        f"prepare_dataset.py out={base.data_root} city=..., or name more with "
                        "cities=")
    return cities


def chosen_cities(base: EvaluateConfig, cities: list[str], key: str,
                  chosen: list[str] | None) -> list[str]:
    """Return the cities that a key of the study gives, by default all; raise RoseError if one is
    not in the dataset."""
    from datasets.stores.city import check_cities

    if chosen is None:
        return cities
    check_several(key, chosen)
    check_cities(chosen, cities, Path(base.data_root), key)
    return chosen


def cells_of(cfg: TransferConfig, base: EvaluateConfig, source: str,
             targets: Sequence[str]) -> list["Cell"]:
    """Return the cells of a city: one trains there, and reports there if that is asked for; others
    measure its models elsewhere."""
    from studies.grid import Cell

    first = source if source in targets else targets[0]
    run = replace(base, train_cities=[source], test_cities=[first],
                  save_path=str(Path(cfg.out, f"from_{source}")))
    return [Cell({"train_city": source, "test_city": first}, (run,)),
            *(Cell({"train_city": source, "test_city": target},
                   measuring(run, f"{run.save_path}_on_{target}", test_cities=[target]),
                   measures=True) for target in targets if target != first)]


def all_but(cfg: TransferConfig, base: EvaluateConfig, city: str, cities: list[str]) -> "Cell":
    """Return the cell that trains on all other cities and reports a city."""
    from studies.grid import Cell

    run = replace(base, train_cities=[other for other in cities if other != city],
                  test_cities=[city], save_path=str(Path(cfg.out, f"from_all_but_{city}")))
    return Cell({"train_city": ALL_OTHERS, "test_city": city}, (run,))


if __name__ == "__main__":
    main()
