"""Estimate population or CO2 of each tile with a pretrained Rose, and report how well.

    python evaluate_pop_fusion.py                             # sample city, last pretraining run
    python evaluate_pop_fusion.py target=co2
    python evaluate_pop_fusion.py data_root=D checkpoint=C modality=osm mode=linear \\
        target_scale=standard seeds=[0,1,2]
    python evaluate_pop_fusion.py data_root=D checkpoint=model_120.tar task=sz_co2 recipe=release

The same command continues a run that was stopped, and reports a finished one again. The training
loop is `fit` in evaluation/run.py.
"""

from evaluation.keys import REGRESSION, RegressionConfig
from utils.cli.command import command
from utils.cli.program import Scored


def evaluate_pop_fusion(cfg: RegressionConfig) -> Scored:
    # the libraries of a network load for seconds, which --help and a mistyped key need not wait for
    from evaluation.job import evaluate_and_tell, figures_of, score_of
    from evaluation.problem import Regression

    summary = evaluate_and_tell(cfg, Regression(cfg))
    return Scored(score_of(summary), figures_of(summary))


main = command(REGRESSION)(evaluate_pop_fusion)

if __name__ == "__main__":
    main()
