"""Segment land use with a pretrained Rose, and report how well.

    python evaluate_seg_fusion.py                             # sample city, last pretraining run
    python evaluate_seg_fusion.py data_root=D checkpoint=C    # tiles with val.txt and train lists
    python evaluate_seg_fusion.py data_root=D checkpoint=C modality=fine mode=linear seeds=[0,1,2]
    python evaluate_seg_fusion.py data_root=D checkpoint=model_120.tar task=seg_sz recipe=release
    python evaluate_seg_fusion.py data_root=D checkpoint=best.safetensors epochs=0   # measure only

The same command continues a run that was stopped, and reports a finished one again. The training
loop is `fit` in evaluation/run.py.
"""

from evaluation.keys import SEGMENTATION, SegmentationConfig
from utils.cli.command import command
from utils.cli.program import Scored


def evaluate_seg_fusion(cfg: SegmentationConfig) -> Scored:
    # the libraries of a network load for seconds, which --help and a mistyped key need not wait for
    from evaluation.job import evaluate_and_tell, figures_of, score_of
    from evaluation.problem import Segmentation

    summary = evaluate_and_tell(cfg, Segmentation(cfg))
    return Scored(score_of(summary), figures_of(summary))


main = command(SEGMENTATION)(evaluate_seg_fusion)

if __name__ == "__main__":
    main()
