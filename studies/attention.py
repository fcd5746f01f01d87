"""Where OSM objects look in the image: the attention of pretrained Rose, drawn and as one number
(Rose section 5.4).

    python -m studies.attention                            # the last pretraining, the sample city
    python -m studies.attention checkpoint=runs/rose/model_120.tar data_root=D
    python -m studies.attention data_root=D tile=singapore_3_5 nodes=[0,7]        # what to draw

The number is the lift: the share of an object's attention inside its own rotated box, divided by
the share of the tile that this box covers, which uniform attention would give. Outputs are in
save_path.
"""

from pathlib import Path

from studies.keys import ATTENTION, AttentionConfig
from utils.cli.command import command
from utils.locks import alone_in


@command(ATTENTION)
def main(cfg: AttentionConfig) -> None:
    from studies.attention_study import study_attention  # and a network's libraries: seconds

    with alone_in(Path(cfg.save_path), "save_path"):
        print(study_attention(cfg))


if __name__ == "__main__":
    main()
