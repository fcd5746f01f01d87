"""The keys of evaluation."""
from dataclasses import dataclass

from training.keys import MachineConfig
from utils.config import key, recipe_key


@dataclass
class EvaluateConfig(MachineConfig):
    """Keys that evaluate_seg_fusion.py and evaluate_pop_fusion.py share."""

    task: str = key()
    data_root: str = key(why="the folder of a tile dataset with targets; prepare_dataset.py "
                             "makes one")
    cities: list[str] | None = key()
    train_file: str = key()
    val_file: str = key()
    test_file: str | None = key()
    checkpoint: str | None = key()
    mode: str = key(choices=("finetune", "linear", "scratch"))
    image_encoder: str | None = key()
    pretrained: bool = key()
    epochs: int = key(least=0)
    batch_size: int = key(least=1)
    lr: float = key(above=0)
    lr_multi: float = key(above=0)
    linear_lr: float = key(above=0)
    weight_decay: float = key(least=0)
    cache_features: bool = key()
    recipe: str | None = key()
    protocol: str = recipe_key("protocol")
    osm_norm_scope: str | None = recipe_key("osm_norm_scope")
    fine_input: str | None = recipe_key("fine_input")
    remove_ratio: float = key(least=0, most=1)
    remove_while_training: bool = key()
    seeds: list[int] = key()
    save_root_dir: str = key()
    save_path: str | None = key()
    resume: str = key(choices=("auto", "never"))
    sample_tiles: int | None = key(least=1)


@dataclass
class SegmentationConfig(EvaluateConfig):
    """Keys of evaluate_seg_fusion.py."""

    modality: str = key(choices=("image", "fusion", "fine"))
    decoder: str = key(choices=("linear", "mask_transformer"))
    classes: list[str] | None = key()


@dataclass
class RegressionConfig(EvaluateConfig):
    """Keys of evaluate_pop_fusion.py."""

    target: str = key(choices=("pop", "co2"))
    modality: str = key(choices=("image", "osm", "fusion"))
    target_scale: str = key(choices=("none", "standard", "log1p"))
