"""What each modality is worth: the image, the OSM objects, and both in either fusion (Rose section
5.2).

    python -m studies.modalities                           # the last pretraining, the sample city
    python -m studies.modalities data_root=D checkpoint=C task=seg_sgp seeds=[0,1,2,3,4]
    python -m studies.modalities data_root=D problem=co2 task=sgp_co2 modalities=[osm,fusion]

Every key of the evaluation can be given, too. The same command continues after a stop, and only
reads what is finished.
"""

from dataclasses import replace
from pathlib import Path

from studies.command import IN_WORDS, alone, base_config, chosen_modalities
from studies.keys import MODALITIES, ModalitiesConfig
from utils.cli.command import command


@command(MODALITIES)
@alone
def main(cfg: ModalitiesConfig, rest: list[str]) -> None:
    modalities = chosen_modalities(cfg)
    base = base_config(cfg, rest, {"modality": "modalities"})
    # these import torch and timm, for which --help and a mistyped key need not wait
    from studies.grid import Cell, checked, over_folds, run_cells
    from studies.report import Report

    cells = over_folds(cfg, base, lambda cfg, base: [
        Cell({"modality": modality},
             (replace(base, modality=modality, save_path=str(Path(cfg.out, modality))),))
        for modality in modalities])
    report = Report("modalities", "Modalities", IN_WORDS[base.mode], Path(cfg.out), cfg, rest,
                    run_cells(checked(cells)), "modality")
    report.write({IN_WORDS[base.mode]: report.points("modality")}, categorical=True)


if __name__ == "__main__":
    main()
