"""What each modality is worth: the image, the OSM objects, and both in either fusion (Rose section
5.2); and what the objects are worth to the same ViT where they are drawn as an image, alone or
beside the imagery. A note names whatever is better than Rose's fusions.

    python -m studies.modalities                           # the last pretraining, the sample city
    python -m studies.modalities data_root=D checkpoint=C task=seg_sgp seeds=[0,1,2,3,4]
    python -m studies.modalities data_root=D problem=co2 task=sgp_co2 modalities=[osm,fusion]

Every key of the evaluation can be given, too. The same command continues after a stop, and only
reads what is finished.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from studies.command import IN_WORDS, QUESTIONS, alone, base_config, chosen_modalities
from studies.keys import MODALITIES, ModalitiesConfig
from utils.cli.command import command
from utils.tables import format_number, label_of

if TYPE_CHECKING:
    from studies.grid import Outcome

FUSIONS = ("fusion", "fine")  # the paper's, of the image and a graph of objects


@command(MODALITIES)
@alone
def main(cfg: ModalitiesConfig, rest: list[str]) -> None:
    base = base_config(cfg, rest, {"modality": "modalities"})
    modalities = chosen_modalities(cfg, base.mode)
    # these import torch and timm, for which --help and a mistyped key need not wait
    from studies.grid import Cell, checked, over_folds, run_cells
    from studies.report import Report

    outcomes = run_cells(checked(over_folds(cfg, base, lambda cfg, base: [
        Cell({"modality": modality},
             (replace(base, modality=modality, save_path=str(Path(cfg.out, modality))),))
        for modality in modalities])))
    report = Report("modalities", "Modalities", IN_WORDS[base.mode], Path(cfg.out), cfg, rest,
                    outcomes, "modality",
                    better_than_fusion(outcomes, QUESTIONS[cfg.problem].score))
    report.write({IN_WORDS[base.mode]: report.points("modality")}, categorical=True)


def better_than_fusion(outcomes: Sequence["Outcome"], score: str) -> list[str]:
    """Return a note on all that has a higher mean `score` than the better one of the fusions, of
    the other modalities and of the baselines; none if there is no fusion, or nothing better."""
    scores = {outcome.cell.keys["modality"]: outcome.spread[score][0] for outcome in outcomes}
    fusions = {name: scores[name] for name in FUSIONS
               if not math.isnan(scores.get(name, math.nan))}
    if not fusions:
        return []
    best = max(fusions, key=fusions.get)
    rivals = {name: value for name, value in scores.items() if name not in fusions}
    rivals |= {f"the {name}": figures[score]
               for name, figures in outcomes[-1].baselines.items()}
    better = [f"{name} ({format_number(value)})"
              for name, value in sorted(rivals.items(), key=lambda rival: -rival[1])
              if value > fusions[best]]
    if not better:
        return []
    return [f"better {label_of(score)} than {best} ({format_number(fusions[best])}): "
            f"{', '.join(better)}"]


if __name__ == "__main__":
    main()
