"""The keys of studies."""
from dataclasses import dataclass

from utils.config import key


@dataclass
class AttentionConfig:
    """Keys of `python -m studies.attention`."""

    checkpoint: str | None = key()
    data_root: str = key(why="the folder of a tile dataset; prepare_dataset.py makes one")
    cities: list[str] | None = key()
    image_size: int = key(least=1)
    max_tiles: int | None = key(least=1)
    batch_size: int = key(least=1)
    tile: str | None = key()
    nodes: list[int] | None = key()
    accelerator: str = key(choices=("auto", "cpu", "cuda", "gpu", "mps"))
    save_root_dir: str = key()
    save_path: str = key()
    sample_tiles: int | None = key(least=1)


@dataclass
class StudyConfig:
    """Keys that the studies which train models share; the evaluation's go on to it."""

    problem: str = key(choices=("seg", "pop", "co2"))
    seeds: list[int] = key()
    out: str = key()


@dataclass
class LabelEfficiencyConfig(StudyConfig):
    """Keys of `python -m studies.label_efficiency`."""

    train_files: list[str] | None = key()
    modes: list[str] = key()


@dataclass
class MissingOsmConfig(StudyConfig):
    """Keys of `python -m studies.missing_osm`."""

    modalities: list[str] | None = key()
    ratios: list[float] = key()
    while_training: bool = key()


@dataclass
class ModalitiesConfig(StudyConfig):
    """Keys of `python -m studies.modalities`."""

    modalities: list[str] | None = key()
