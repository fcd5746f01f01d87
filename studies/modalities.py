"""What each modality is worth: the image, the OSM objects, and both in either fusion (Rose section
5.2).

    python -m studies.modalities                                                     # the sample city, the last pretraining run
    python -m studies.modalities data_root=D checkpoint=C task=seg_sgp seeds=[0,1,2,3,4]
    python -m studies.modalities data_root=D checkpoint=C problem=co2 task=sgp_co2 modalities=[osm,fusion] mode=linear

Every key of the evaluation can be given, too. The same command goes on after a stop, and only
reads again what is finished.
"""

from dataclasses import replace
from pathlib import Path

from studies.command import IN_WORDS, base_config, chosen_modalities
from studies.keys import MODALITIES, ModalitiesConfig
from utils.cli.command import command


@command(MODALITIES)
def main(cfg: ModalitiesConfig, rest: list[str]) -> None:
    modalities = chosen_modalities(cfg)
    base = base_config(cfg, rest, {"modality": "modalities"})
    # the network's libraries: seconds, which --help and a mistyped key need not wait for
    from studies.grid import Cell, checked, run_cells
    from studies.report import Report

    cells = [Cell({"modality": modality},
                  (replace(base, modality=modality, save_path=str(Path(cfg.out, modality))),))
             for modality in modalities]
    outcomes = run_cells(checked(cells))
    report = Report("modalities", "Modalities", IN_WORDS[base.mode], Path(cfg.out), cfg, rest,
                    outcomes, "modality")
    report.write({IN_WORDS[base.mode]: report.points("modality")}, categorical=True)


if __name__ == "__main__":
    main()
