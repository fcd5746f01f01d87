"""What a run on one's own city needs, chosen from the number of tiles and the machine.

    python train_rose.py experiment=own_city data_path=data/mycity save_dir=mycity

`experiment=own_city` leaves keys null, and `settled` gives each the value that the rules below
choose. A value that was given stays, and the others follow from it: a larger `image_encoder=` gets
a lower rate. A run that is continued keeps the values of its checkpoint. Nothing here measures
time, so the same tiles and machine always get the same values; config.yaml states them.

How the numbers were found, on two CPU cores (one thread takes 40 tiles a second of test_vit, width
64, and 7 of vit_tiny, width 192): in steps of 4 tiles at a rate of 2e-3 that falls by a half
cosine, test_vit beats both guesses after 1,100 steps on 36 tiles of the sample city (pixels 29.4
grey values off, mean colour 30.3; tags 33 %, commonest 22 %; 27.7 and 44 % after 2,700), after
1,600 on 159 tiles of 512-pixel drone chips (42.2, 45.0; 40.3 after 3,100), and after 1,900 on 1,534
tiles of a city's orthophoto (39.2, 44.3; 53 %, 24 %). At 5e-3 it does not on the 36 tiles; at 1e-3
and below it takes longer. 6,000 steps are ten minutes. Rates of wider encoders follow from the
width, and meet the paper's for fine-tuning ViT-B (2e-5 and 1e-5). The plan for GPUs is reasoned
from memory and steps, and not yet measured.
"""

import os
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from datasets import TileDataset
from models.image_encoder import ImageEncoder
from training.compatibility import check_pretrainable
from training.keys import MachineKeys, TrainConfig
from utils.checkpoint import newest_checkpoint, read_tar
from utils.cores import usable_cores

FEW = 30             # tiles: with fewer, a network mostly learns them by heart
RATE = 2e-3          # of AdamW for an encoder of width 64; it falls as the width grows
CLASSES_RATE = 3e-4  # of Adam, in fine-tuning for classes
TOTALS_RATE = 1e-4   # of Adam, in fine-tuning for a total
KEYS = ("image_encoder", "precision", "batch_size", "total_epoch", "num_workers", "save_every",
        "picture_every")


@dataclass(frozen=True)
class Machine:
    """What a run has.

    Attributes:
        cores: of the processor, that this process may use.
        gpu_gib: memory of a GPU; 0: there is none.
        bf16: whether its products in bfloat16 are fast, the GPU's if there is one.
        devices: processes of the run.
    """

    cores: int
    gpu_gib: float = 0
    bf16: bool = False
    devices: int = 1


class Plan(NamedTuple):
    """How long and in what steps to train: `steps` of `batch` tiles, over at least `least` and at
    most `most` epochs."""

    batch: int
    steps: int
    least: int
    most: int


ON_CPU = Plan(batch=4, steps=6000, least=8, most=300)
ON_GPU = Plan(batch=32, steps=8000, least=20, most=800)
TUNING = Plan(batch=8, steps=1000, least=8, most=60)


def encoder_for(tiles: int, machine: Machine) -> str:
    """Return the largest encoder that these tiles can teach and the machine can train in time."""
    if not machine.gpu_gib:
        return "test_vit" if machine.cores < 16 or tiles < 500 else "vit_tiny_patch16_224"
    if machine.gpu_gib < 5:
        return "vit_tiny_patch16_224"
    if machine.gpu_gib < 14 or tiles < 500:
        return "vit_small_patch16_224"
    return "vit_base_patch16_224"


def rate_for(width: int, rate: float = RATE) -> float:
    """Return `rate` times 64 / width, to two digits: of a wider network each weight must move less
    to change what it computes as much."""
    return float(f"{rate * 64 / width:.1e}")


def tiles_per_step(tiles: int, plan: Plan) -> int:
    """Return the plan's batch, or less, so that an epoch has eight steps."""
    return max(min(plan.batch, tiles // 8), 1)


def epochs_for(tiles: int, step: int, plan: Plan) -> int:
    """Return the epochs in which steps of `step` tiles make the plan's steps."""
    per_epoch = max(tiles // step, 1)
    return min(max(round(plan.steps / per_epoch), plan.least), plan.most)


def precision_for(width: int, machine: Machine) -> str:
    """Return bf16-mixed where it is faster: on a GPU, and for wide networks on a CPU."""
    return "bf16-mixed" if machine.bf16 and (machine.gpu_gib or width >= 384) else "32-true"


def workers_for(machine: Machine) -> int:
    """Return the processes that load tiles: none where each core computes."""
    cores = machine.cores // machine.devices
    return min(max(cores - 1, 1), 12) if machine.gpu_gib else min(cores // 4, 4)


def chosen(tiles: int, machine: Machine, cfg: TrainConfig) -> dict[str, Any]:
    """Return the values of all keys that may be null, those that `cfg` has among them."""
    plan = ON_GPU if machine.gpu_gib else ON_CPU
    encoder = cfg.image_encoder or encoder_for(tiles, machine)
    width = width_of(encoder)
    together = machine.devices * cfg.accumulate
    batch = cfg.batch_size or max(tiles_per_step(tiles, plan) // together, 1)
    per_epoch = max(tiles // (batch * together), 1)
    epochs = cfg.total_epoch or (
        -(-cfg.max_steps // per_epoch) if cfg.max_steps
        else epochs_for(tiles, batch * together, plan))
    tenth = max(round(epochs / 10), 1)
    return {"image_encoder": encoder, "batch_size": batch, "total_epoch": epochs,
            "lr": cfg.lr if cfg.lr or cfg.blr else rate_for(width),
            "precision": cfg.precision or precision_for(width, machine),
            "num_workers": workers_for(machine) if cfg.num_workers is None else cfg.num_workers,
            "save_every": cfg.save_every or tenth, "picture_every": cfg.picture_every or tenth}


def settled(cfg: TrainConfig) -> tuple[TrainConfig, list[str]]:
    """Return `cfg` with a value for each key that is null to be chosen, and lines that say them.

    Raises:
        RoseError: the tiles, the encoder or the checkpoint to continue cannot be used.
    """
    free = [name for name in KEYS if getattr(cfg, name) is None]
    free += ["lr"] * (cfg.lr is None and cfg.blr is None)
    if not free:
        return cfg, []
    tiles, machine = _tiles(cfg.data_path, cfg), machine_of(cfg)
    values = chosen(tiles, machine, cfg)
    if checkpoint := _to_continue(cfg):
        values |= read_tar(checkpoint, lazy=True).get("config", {})
        free += ["blr"] * ("lr" in free and values["lr"] is None)
    cfg = replace(cfg, **{name: values[name] for name in free})
    if checkpoint:
        return cfg, [f"As in {checkpoint}:", _assignments(cfg, free)]
    return cfg, _in_words(cfg, free, tiles, machine)


def settled_tuning(cfg: Any, tiles: int, encoder: str) -> tuple[Any, list[str]]:
    """Return the config of an evaluation in the same way.

    Args:
        tiles: for training.
        encoder: of the checkpoint.
    """
    free = [name for name in ("lr", "epochs", "num_workers") if getattr(cfg, name) is None]
    if not free:
        return cfg, []
    rate = TOTALS_RATE if hasattr(cfg, "target") else CLASSES_RATE
    values = {"lr": rate_for(width_of(encoder), rate), "num_workers": workers_for(machine_of(cfg)),
              "epochs": epochs_for(tiles, cfg.batch_size, TUNING)}
    cfg = replace(cfg, **{name: values[name] for name in free})
    return cfg, [f"Chosen for {tiles:,} training tiles and {encoder}:", _assignments(cfg, free)]


def scratch_encoder(cfg: Any) -> str | None:
    """Return the encoder of an evaluation without a checkpoint; None if its rate is given, and with
    it that of some encoder."""
    if cfg.lr is not None:
        return None
    return encoder_for(_tiles(cfg.data_root, cfg), machine_of(cfg))


def machine_of(cfg: MachineKeys) -> Machine:
    """Return what the run of `cfg` will have, before its processes start."""
    cores = usable_cores()
    gpu = cfg.accelerator not in ("cpu", "mps") and torch.cuda.is_available()
    devices = int(cfg.devices) if cfg.devices.isdigit() else torch.cuda.device_count() if gpu else 1
    world = int(os.environ.get("WORLD_SIZE", devices * cfg.num_nodes))
    if not gpu:
        bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return Machine(cores, bf16=bf16, devices=world)
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30
    return Machine(cores, memory, torch.cuda.is_bf16_supported(including_emulation=False), world)


@cache
def width_of(encoder: str) -> int:
    """Return the width of an image encoder; raise ModelError if there is none of that name."""
    with torch.device("meta"):
        return ImageEncoder(encoder).width


def _tiles(root: str, cfg: Any) -> int:
    """Return the number of tiles, those of a sample city that is still to be made included.

    Raises:
        TileError: there are none, or pretraining cannot use them.
    """
    if cfg.sample_tiles and not Path(root).is_dir():
        return cfg.sample_tiles**2
    tiles = TileDataset(root, cfg.cities)
    if isinstance(cfg, TrainConfig):
        check_pretrainable(tiles)
    return len(tiles)


def _to_continue(cfg: TrainConfig) -> Path | None:
    """Return the checkpoint that the run will continue, if there is one."""
    if cfg.resume == "auto":
        return newest_checkpoint(Path(cfg.save_root_dir, cfg.save_dir))
    return None if cfg.resume == "never" else Path(cfg.resume)


def _in_words(cfg: TrainConfig, free: list[str], tiles: int, machine: Machine) -> list[str]:
    gpu = f"a GPU of {machine.gpu_gib:.0f} GiB" if machine.gpu_gib else "no GPU"
    size = cfg.batch_size * cfg.accumulate * machine.devices
    steps = min(cfg.total_epoch * (tiles // size), cfg.max_steps or sys.maxsize)
    rate = f"lr {cfg.lr:g}" if cfg.lr else f"blr {cfg.blr:g}"
    lines = [f"Chosen for {tiles:,} tiles, {machine.cores} cores and {gpu}:",
             _assignments(cfg, free),
             f"  that is {steps:,} step{'s' * (steps != 1)} of {size} tile{'s' * (size > 1)}, "
             f"{rate} falling to 0"]
    if tiles < FEW:
        lines.append(f"note: data_path={cfg.data_path}: {tiles} tiles, expected {FEW} or more: a "
                     "network mostly learns so few by heart; bring a larger area, or finer "
                     "pixels (resolution= of prepare_dataset.py)")
    return lines


def _assignments(cfg: MachineKeys, names: list[str]) -> str:
    return "  " + " ".join(f"{name}={getattr(cfg, name)}" for name in names)
