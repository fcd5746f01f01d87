"""The bookkeeping of a pretraining run: where it starts, what it saves, and when it stops. The method's loop is in train_rose.py."""

import hashlib
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from omegaconf import OmegaConf
from torch import Tensor
from torch.utils.data import DataLoader
from torch_geometric.data import Batch

from datasets import AugmentedTiles, EpochSampler, TileDataset, collate
from models import RoseOutput, build_rose
from models.rose import MODEL_KEYS
from utils.checkpoint import newest_checkpoint, read_checkpoint, read_position, rng_state, save_checkpoint, set_rng_state
from utils.config import TrainConfig
from utils.devices import gather
from utils.errors import CheckpointError, ConfigError, RoseError
from utils.files import remove_unfinished, replacing
from utils.records import Recorder
from utils.release import load_strictly
from utils.schedule import base_learning_rate, build_optimizer
from utils.stopping import StopRequest, not_finite, outlast_signals

# A continued run must agree with its checkpoint in these, or its steps would not be those of one run.
_FIXED = ("batch_size", "seed", "image_size", "cities", "recipe", "augment", "node_mask_scope", "osm_norm_scope", "relation_edges",
          "image_encoder", "graph_in_dim", "graph_out_dim", "img_mask_ratio", "osm_mask_ratio", "lr", "blr", "weight_decay", "schedule",
          "lr_decay", "cos", "precision")


class PretrainingRun:
    """Data, network, optimiser and record of a run in save_root_dir/save_dir, continued where a checkpoint left it.

    Attributes:
        fabric: devices and precision.
        rose, optimizer: set up by it.
        base_lr: learning rate of the first epoch.
        folder: of the run's outputs.

    Raises:
        RoseError: the dataset, the network or the folder cannot be used as asked.
    """

    def __init__(self, cfg: TrainConfig, fabric: Fabric):
        self.stop = StopRequest()
        self.cfg, self.fabric, self.folder = cfg, fabric, Path(cfg.save_root_dir) / cfg.save_dir
        self.tiles = TileDataset(cfg.data_path, cfg.cities, cfg.image_size, cfg.graph_in_dim + 1)
        self.fabric.seed_everything(cfg.seed, verbose=False)
        self.sampler = EpochSampler(self.tiles, cfg.batch_size, cfg.seed, self.fabric.global_rank, self.fabric.world_size)
        self.loader = self._build_loader()
        self.build = build_arguments(cfg)
        rose = build_rose(**self.build, pretrained=cfg.pretrained)
        tiles_per_step = cfg.batch_size * self.fabric.world_size
        self.base_lr = cfg.lr if cfg.lr is not None else base_learning_rate(cfg.blr, tiles_per_step)
        self.total_steps = min(cfg.total_epoch * self.sampler.steps_per_epoch, cfg.max_steps or sys.maxsize)
        self.record = Recorder(self.folder, cfg.total_epoch, self.sampler.steps_per_epoch, cfg.log_every, self.total_steps,
                               tiles_per_step, enabled=self.fabric.is_global_zero)
        self.epoch, self.step, self.global_step = 1, 0, 0  # epoch counted from 1; steps done in it and in all
        self.last_saved: Path | None = None
        checkpoint = self._checkpoint_to_continue()
        if checkpoint:
            load_strictly(rose, checkpoint["model"], str(self.last_saved))
        self.rose, self.optimizer = self.fabric.setup(rose, build_optimizer(rose, self.base_lr, cfg.weight_decay))
        torch.manual_seed(cfg.seed + self.fabric.global_rank)  # each device draws masks of its own
        self._continue(checkpoint)

    def __enter__(self) -> "PretrainingRun":
        return self

    def __exit__(self, *error: object) -> None:
        self.record.close()
        self.stop.forget()

    @property
    def finished(self) -> bool:
        """True when no step is left."""
        return self.global_step >= self.total_steps

    def epochs(self) -> Iterator[int]:
        """The epochs that are left, the one stopped in first; ends at the last step of the run."""
        while not self.finished:
            yield self.epoch

    def batches(self) -> Iterator[tuple[Tensor, Batch]]:
        """The batches that are left of the epoch; ends early at the last step of the run, or when it is asked to stop."""
        self.sampler.set_position(self.epoch, self.step)
        for batch in self.loader:
            yield batch
            if self.finished or self.stop.agreed(self.fabric):
                return

    def check(self, out: RoseOutput, graphs: Batch) -> list[float]:
        """[image, OSM] losses of a step about to be taken.

        Raises:
            RoseError: one is not finite.
        """
        own = torch.stack([out.image_loss, out.osm_loss]).detach()
        losses = self.fabric.all_reduce(own.clone()) if self.fabric.world_size > 1 else own
        if not losses.isfinite().all():  # on one process, so on all
            found = [item for item in gather(self.fabric, (own.tolist(), graphs.name)) if not all(map(math.isfinite, item[0]))]
            names = [name for _, batch in found for name in batch]
            image, osm = found[0][0] if found else losses.tolist()
            raise RoseError(not_finite(f"image {image}, OSM {osm}", names, self.epoch, self.step + 1, self.last_saved,
                                       "lower blr, or use precision=32-true"))
        return losses.tolist()

    def count(self, losses: list[float]) -> None:
        """Record a step that was taken."""
        self.step, self.global_step = self.step + 1, self.global_step + 1
        self.record.step(self.epoch, self.step, self.global_step, losses, self.optimizer.param_groups[0]["lr"])

    def end_epoch(self) -> None:
        """Save when it is time to: every `save_every` epochs, at the end of the run, and when it was asked to stop."""
        whole = self.step == self.sampler.steps_per_epoch
        epoch = self.epoch
        if whole:
            self.epoch, self.step = self.epoch + 1, 0
        asked = self.stop.agreed(self.fabric)
        if whole and (epoch % self.cfg.save_every == 0 or epoch == self.cfg.total_epoch):
            self._save(f"model_{epoch}.tar")
        elif asked or self.finished:
            self._save("last.tar")
        if asked and not self.finished:
            self.record.close()
            self.fabric.print(f"Stopped by {self.stop.received} in epoch {epoch} after step {self.global_step} of {self.total_steps}; "
                              f"saved {self.last_saved}. The same command continues there.")
            sys.exit(0)

    def _fingerprint(self) -> str:
        """A digest of the tiles' names, in order."""
        return hashlib.sha256("\n".join(self.tiles.names).encode()).hexdigest()

    def _build_loader(self) -> DataLoader:
        loader = DataLoader(
            AugmentedTiles(self.tiles, self.cfg.augment, self.cfg.seed), batch_size=self.cfg.batch_size, sampler=self.sampler,
            num_workers=self.cfg.num_workers, collate_fn=collate, drop_last=True, pin_memory=self.fabric.device.type == "cuda",
            worker_init_fn=outlast_signals, generator=torch.Generator(),  # its own: an iterator must not advance the run's randomness
        )
        return self.fabric.setup_dataloaders(loader, use_distributed_sampler=False)

    def _checkpoint_to_continue(self) -> dict[str, Any] | None:
        if self.cfg.resume == "never":
            if any(self.folder.glob("loss_record.txt")):
                raise ConfigError(f"{self.folder}: holds a run already, and resume=never; choose another save_dir=, "
                                  f"or resume=auto to continue")
            return None
        self.last_saved = newest_checkpoint(self.folder) if self.cfg.resume == "auto" else Path(self.cfg.resume)
        if self.last_saved is None:
            return None
        checkpoint = read_checkpoint(self.last_saved)
        self._check_continuable(checkpoint)
        self._check_folder(checkpoint)
        return checkpoint

    def _check_folder(self, checkpoint: dict[str, Any]) -> None:
        """A run that is continued from elsewhere needs a folder of its own; one that goes back must not meet what it leaves behind."""
        newest = newest_checkpoint(self.folder)
        if self._elsewhere() and (newest or (self.folder / "loss_record.txt").exists()):
            raise ConfigError(f"{self.folder}: holds a run of its own, and resume={self.cfg.resume} is another's; choose another save_dir=")
        if newest and read_position(newest) > checkpoint["global_step"]:
            raise ConfigError(f"{newest}: is further than resume={self.cfg.resume}; to go back, choose another save_dir=, or move it and "
                              f"all others that are further out of the folder")

    def _elsewhere(self) -> bool:
        return self.last_saved.parent.resolve() != self.folder.resolve()

    def _check_continuable(self, checkpoint: dict[str, Any]) -> None:
        now, then = asdict(self.cfg), checkpoint["config"]
        fixed = (*_FIXED, "total_epoch") if self.cfg.cos else _FIXED  # a half cosine ends where it was told to
        changed = [f"{key}={now[key]} (there {then.get(key)})" for key in fixed if now[key] != then.get(key)]
        counts = (("steps an epoch", self.sampler.steps_per_epoch), ("devices", self.fabric.world_size))
        changed += [f"{found} {name} (there {checkpoint[name]})" for name, found in counts if found != checkpoint[name]]
        if checkpoint["tiles"] != self._fingerprint():
            changed.append(f"the tiles of {self.cfg.data_path} (there others)")
        if changed:
            raise CheckpointError(f"{self.last_saved}: belongs to another run: {', '.join(changed)}; "
                                  f"use its values, or start anew in another folder with save_dir=")

    def _continue(self, checkpoint: dict[str, Any] | None) -> None:
        if self.fabric.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_unfinished(self.folder)
            with replacing(self.folder / "config.yaml") as temporary:
                temporary.write_text(OmegaConf.to_yaml(OmegaConf.structured(self.cfg)))
        if checkpoint is None:
            self.record.start(0)
            return
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self.fabric.strategy.precision.load_state_dict(checkpoint["precision"])
        self.epoch, self.step, self.global_step = (checkpoint[name] for name in ("epoch", "step", "global_step"))
        if not self.finished:
            self.fabric.print(f"Continuing {self.last_saved}: epoch {self.epoch}, {self.global_step} of {self.total_steps} steps done.")
        self.record.start(self.global_step, checkpoint["record"], keep_files=not self._elsewhere())
        set_rng_state(checkpoint["rng"][self.fabric.global_rank])

    def _save(self, name: str) -> None:
        if not all(parameter.isfinite().all() for parameter in self.rose.parameters()):
            raise RoseError(f"epoch {self.epoch}, step {self.step}: a weight is not finite, so {name} was not saved; "
                            f"lower blr, or use precision=32-true")
        ranks = gather(self.fabric, rng_state())
        if self.fabric.is_global_zero:
            save_checkpoint(self.folder / name, {
                "model": self.rose.module.state_dict(), "build": self.build, "optimizer": self.optimizer.state_dict(),
                "precision": self.fabric.strategy.precision.state_dict(), "epoch": self.epoch, "step": self.step,
                "global_step": self.global_step, "steps an epoch": self.sampler.steps_per_epoch, "devices": self.fabric.world_size,
                "rng": ranks, "record": self.record.state_dict(), "config": asdict(self.cfg), "tiles": self._fingerprint(),
                "label_names": self.tiles.label_names,
            })
            if name != "last.tar":  # it holds an older step than this one
                for outdated in ("last.tar", "last.safetensors"):
                    (self.folder / outdated).unlink(missing_ok=True)
        self.last_saved = self.folder / name
        self.fabric.barrier()


def build_arguments(cfg: TrainConfig) -> dict[str, Any]:
    """The arguments of `build_rose` that make the network of `cfg`; stored with its weights."""
    keys = ("image_encoder", "recipe", "graph_in_dim", "graph_out_dim", "img_mask_ratio", "osm_mask_ratio")
    values = asdict(cfg)
    return {key: values[key] for key in (*keys, *MODEL_KEYS) if key in values}
