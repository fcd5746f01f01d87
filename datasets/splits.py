"""Write lists of training, validation and test tiles, drawn as blocks of neighbouring tiles with a
guard between them.

    python -m datasets.splits data_path=D                        # 15 % validation, 15 % test
    python -m datasets.splits data_path=D split.val=0.2 split.block=6 split.seed=1

Each line of a list is `NAME.png`: val.txt, test.txt, osm-train-all.txt, and osm-train50.txt,
osm-train100.txt ..., each inside the next.
"""

from dataclasses import asdict

from datasets.keys import SPLITS, SplitsConfig
from utils.cli.command import command


@command(SPLITS)
def main(cfg: SplitsConfig) -> None:
    from datasets.split_lists import SplitRules, write_splits  # and the stores' libraries: seconds

    print(write_splits(cfg.data_path, SplitRules(**asdict(cfg.split))))


if __name__ == "__main__":
    main()
