"""The sample city for the scripts that can do without a dataset."""

from lightning_fabric import Fabric


def ensure_sample(fabric: Fabric, root: str, tiles: int | None) -> None:
    """Make the sample city of tiles x tiles tiles at `root`, by the first process, unless it is there; nothing with `tiles` None."""
    if tiles is None:
        return
    from datasets.sample_tiles import ensure_sample_tiles  # the whole preparation, which no other run needs

    with fabric.rank_zero_first():
        ensure_sample_tiles(root, tiles)
