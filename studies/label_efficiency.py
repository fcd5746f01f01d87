"""How far a few labels go: train shares, with the pretrained network and from scratch (Rose
section 5.3).

    python -m studies.label_efficiency                     # the last pretraining, the sample city
    python -m studies.label_efficiency data_root=D checkpoint=C task=seg_sgp seeds=[0,1,2,3,4]
    python -m studies.label_efficiency data_root=D problem=pop train_files=[a.txt,b.txt]
    python -m studies.label_efficiency data_root=D modes=[finetune,linear,scratch] modality=image

`python -m datasets.splits data_path=D split.train_sizes=[10,20,50]` writes lists of other sizes.
Every key of the evaluation can be given, too. The same command continues after a stop, and only
reads what is finished.
"""

from dataclasses import replace
from pathlib import Path

from evaluation.keys import EvaluateConfig
from studies.command import IN_WORDS, alone, base_config, check_among, check_several
from studies.keys import LABEL_EFFICIENCY, MODES, LabelEfficiencyConfig
from utils.cli.command import command
from utils.errors import TileError

LISTS = "osm-train*.txt"


@command(LABEL_EFFICIENCY)
@alone
def main(cfg: LabelEfficiencyConfig, rest: list[str]) -> None:
    check_among("modes", cfg.modes, MODES)
    base = base_config(cfg, rest, {"mode": "modes", "train_file": "train_files"})
    # these import torch and timm, for which --help and a mistyped key need not wait
    from studies.grid import Cell, checked, over_folds, run_cells
    from studies.report import Report

    lists = training_lists(base, cfg.train_files, cfg.folds)
    cells = over_folds(cfg, base, lambda cfg, base: [
        Cell({"train_file": file, "train_tiles": tiles, "mode": mode},
             (replace(base, train_file=file, mode=mode,
                      save_path=str(Path(cfg.out, f"{mode}_{Path(file).stem}"))),))
        for file, tiles in lists.items() for mode in cfg.modes])
    report = Report("label_efficiency", "Label efficiency", f"modality {base.modality}",
                    Path(cfg.out), cfg, rest, run_cells(checked(cells)), "training tiles")
    report.write({IN_WORDS[mode]: report.points("train_tiles", mode=mode) for mode in cfg.modes})


def training_lists(cfg: EvaluateConfig, files: list[str] | None,
                   folds: int | None = None) -> dict[str, int]:
    """Return the lists to train on -> the number of tiles of each, the smallest first; with folds,
    those that all folds have, and the tiles of the first.

    Raise RoseError if there are none, or one cannot be used.

    Args:
        files: their names; None: all of the dataset, without those that repeat another's tiles.
    """
    from datasets import TileDataset
    from datasets.dealt_lists import fold_folder
    from datasets.labelled import read_list
    from datasets.sample_city.tiles import ensure_sample
    from training.devices import launch

    if files is not None:
        check_several("train_files", files)
    ensure_sample(launch(cfg), cfg.data_root, cfg.sample_tiles)
    dataset = TileDataset(cfg.data_root, cfg.cities, cfg.image_size)
    root = dataset.root
    folders = [fold_folder(fold + 1, folds) for fold in range(folds or 0)] or ["."]
    names = files or sorted(set.intersection(*({path.name for path in (root / folder).glob(LISTS)}
                                               for folder in folders)))
    if not names:
        raise TileError(f"{cfg.data_root}: has no {LISTS}, expected lists of training tiles of "
                        "several sizes; write them with `python -m datasets.splits "
                        f"data_path={cfg.data_root} split.train_sizes=[10,20,50]"
                        f"{f' split.fold=1/{folds}' if folds else ''}`, or name others with "
                        "train_files=[a,b]")
    tiles = {name: read_list(dataset, str(Path(folders[0], name)), "train_files")
             for name in names}
    if files is None:
        distinct = {frozenset(indices): name for name, indices in reversed(tiles.items())}
        tiles = {name: tiles[name] for name in distinct.values()}
    return {name: len(indices)
            for name, indices in sorted(tiles.items(), key=lambda item: len(item[1]))}


if __name__ == "__main__":
    main()
