"""The keys of training."""
from dataclasses import dataclass

from utils.config import key, recipe_key


@dataclass
class MachineConfig:
    """Keys that every script which runs a network shares."""

    image_size: int = key(least=1)
    precision: str = key(choices=("32-true", "bf16-mixed", "16-mixed"))
    accelerator: str = key(choices=("auto", "cpu", "cuda", "gpu", "mps"))
    devices: str = key()
    num_nodes: int = key(least=1)
    strategy: str = key(choices=("auto", "ddp"))
    compile: bool = key()
    num_workers: int = key(least=0)


@dataclass
class TrainConfig(MachineConfig):
    """Keys of train_rose.py."""

    strategy: str = key(choices=("auto", "ddp", "fsdp"))
    seed: int = key(least=0, below=2**32)
    data_path: str = key(why="the folder of a tile dataset; prepare_dataset.py makes one, and "
                             "experiment=sample needs none")
    cities: list[str] | None = key()
    batch_size: int = key(least=1)
    accumulate: int = key(least=1)
    checkpoint_activations: bool = key()
    total_epoch: int = key(least=1)
    max_steps: int | None = key(least=1)
    schedule: list[int] = key()
    lr: float | None = key(above=0)
    blr: float = key(above=0)
    cos: bool = key()
    weight_decay: float = key(least=0)
    recipe: str = key()
    osm_norm_scope: str = recipe_key("osm_norm_scope")
    node_mask_scope: str = recipe_key("node_mask_scope")
    augment: str = recipe_key("augment")
    lr_decay: str = recipe_key("lr_decay")
    relation_edges: bool = key()
    image_encoder: str = key()
    pretrained: bool = key()
    graph_in_dim: int = key(least=16)
    graph_out_dim: int = key(least=1)
    img_mask_ratio: float = key(above=0, below=1)
    osm_mask_ratio: float = key(above=0, below=1)
    save_root_dir: str = key()
    save_dir: str = key()
    resume: str = key()
    log_every: int = key(least=1)
    save_every: int = key(least=1)
    picture_every: int = key(least=1)
    sample_tiles: int | None = key(least=1)
