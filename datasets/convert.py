"""Convert a dataset from one layout to the other.

    python -m datasets.convert SRC DST                  # compact to release, or release to compact
    python -m datasets.convert SRC DST overwrite=true   # replace the dataset that DST holds

Both layouts give the same tensors, bit for bit. Every tile is read with all its checks; lists of
tiles and other files in the root of SRC come along. DST appears when it is complete.
"""

from datasets.keys import CONVERT, ConvertConfig
from utils.cli.command import command


@command(CONVERT)
def main(cfg: ConvertConfig) -> None:
    from datasets.stores.conversion import convert  # and the stores' libraries: seconds

    print(convert(cfg.src, cfg.dst, cfg.layout, cfg.overwrite))


if __name__ == "__main__":
    main()
