"""The bookkeeping of a pretraining run: start, save, continue, stop. Its loop is train_rose.py."""

import math
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from omegaconf import OmegaConf

from datasets import EpochSampler, TileDataset
from datasets.dropping import Dropping
from models.building import rebuild_rose
from models.rose import Rose
from training.compatibility import check_image_size, check_pretrainable, node_width
from training.devices import (
    compile_in_place,
    end_all,
    gather,
    set_up_again,
    threads_that_pay,
    together,
)
from training.finite import check_weights, not_finite
from training.image_tuning import RATES, ImageTuning, check_freeze
from training.keys import TrainConfig
from training.loader import PretrainingBatch, pretraining_loader
from training.momentum import Momentum
from training.outlook import reach, too_short, weight_size
from training.records import LOSSES, Recorder
from training.restoring import restoring
from training.schedule import base_learning_rate, build_optimizer, load_optimizer
from training.sharding import is_sharded, whole
from training.start import continued_rose, new_rose
from training.step import Step
from training.stopping import StopRequest
from utils.checkpoint import newest_checkpoint, read_checkpoint, read_position, save_checkpoint
from utils.cli.overrides import written
from utils.config import result_keys
from utils.errors import CheckpointError, ConfigError, RoseError
from utils.files import digest_of, remove_unfinished, replacing


class PretrainingRun:
    """Data, network, optimiser and record of a run, continued from its checkpoint.

    Raise RoseError if the dataset, the network or the folder cannot be used as asked.

    Attributes:
        rose, optimizer: set up by Fabric.
        build: the arguments of `build_rose`, stored with the weights.
        image_weights: path and sha256 of the file that the image encoder started from, if any.
        tuning: what freezes the image encoder, and says its rates.
        momentum: the encoder that gives the targets of image_target=latent; else None.
        base_lr: learning rate of the first epoch.
        epoch: counted from 1.
        step, global_step: steps done in the epoch, and in the run.
        folder: of the run's outputs, save_root_dir/save_dir.
    """

    def __init__(self, cfg: TrainConfig, fabric: Fabric):
        self.stop = StopRequest()
        self.fabric, self.folder = fabric, Path(cfg.save_root_dir) / cfg.save_dir
        with together(fabric):
            check_freeze(cfg.freeze, cfg.total_epoch, "total_epoch")
            self.tiles = TileDataset(cfg.data_path, cfg.cities, cfg.image_size)
            check_pretrainable(self.tiles)
            self.cfg = cfg = fitted(cfg, self.tiles)
            self.fabric.seed_everything(cfg.seed, verbose=False)
            self.sampler = EpochSampler(self.tiles, cfg.batch_size, cfg.seed,
                                        self.fabric.global_rank, self.fabric.world_size,
                                        accumulate=cfg.accumulate)
            self.last_saved: Path | None = None
            checkpoint = self._checkpoint_to_continue()
            fabric.print(f"Building {cfg.image_encoder}")
            rose, self.build, self.image_weights = (
                continued_rose(cfg, checkpoint, self.last_saved) if checkpoint else new_rose(cfg))
            check_image_size(f"image_encoder={cfg.image_encoder}", rose.image_encoder.patch,
                             cfg.image_size)
            self.threads = threads_that_pay(rose.width)
            rose.checkpoint_activations = cfg.checkpoint_activations
            self.momentum = Momentum(rose.image_encoder) if cfg.image_target == "latent" else None
            self.tuning = ImageTuning(rose.image_encoder, cfg.freeze, cfg.layer_decay)
            self.loader = pretraining_loader(
                fabric, self.tiles, self.sampler, batch_size=cfg.batch_size, seed=cfg.seed,
                augment=cfg.augment, patch=rose.image_encoder.patch,
                img_mask_ratio=cfg.img_mask_ratio, osm_mask_ratio=cfg.osm_mask_ratio,
                node_mask_scope=cfg.node_mask_scope, num_workers=cfg.num_workers,
                normalise=rose.normalise, dropping=Dropping(cfg.drop_objects, cfg.drop_graphs))
            self.base_lr = (base_learning_rate(cfg.blr, self.tiles_per_step) if cfg.lr is None
                            else cfg.lr)
            self.total_steps = min(cfg.total_epoch * self.sampler.steps_per_epoch,
                                   cfg.max_steps or sys.maxsize)
            self.record = Recorder(self.folder, cfg.total_epoch, self.sampler.steps_per_epoch,
                                   cfg.log_every, self.total_steps, self.tiles_per_step,
                                   enabled=self.fabric.is_global_zero, contrast=cfg.contrast > 0,
                                   rates=RATES if self.tuning.rates(0) else ())
            self.epoch, self.step, self.global_step = 1, 0, 0
            outlook = too_short(
                reach(cfg, self.base_lr, self.sampler.steps_per_epoch, self.total_steps),
                weight_size(rose), self.total_steps, self.base_lr)
        if cfg.compile:
            compile_in_place(rose, fabric.device)
        if self.momentum is not None:
            self.momentum.set_up(fabric, cfg.compile)
        self.rose = fabric.setup_module(rose)
        optimizer = build_optimizer(rose, self.base_lr, cfg.weight_decay, cfg.layer_decay)
        self.optimizer = fabric.setup_optimizers(optimizer)
        self._continue(checkpoint)
        if outlook and not self.finished:
            self.record.say(outlook)

    def __enter__(self) -> "PretrainingRun":
        self.threads.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.record.close()
        self.stop.forget()
        self.threads.__exit__(*error)

    @property
    def tiles_per_step(self) -> int:
        """Tiles of a step, in all its batches on all processes."""
        return self.cfg.batch_size * self.cfg.accumulate * self.fabric.world_size

    @property
    def finished(self) -> bool:
        """True when no step is left."""
        return self.global_step >= self.total_steps

    def epochs(self) -> Iterator[int]:
        """Yield the epochs left, from the one stopped in to that of the run's last step."""
        while not self.finished:
            if self.tuning.begin(self.epoch) and not is_sharded(self.rose):
                rose, self.rose = self.rose.module, None
                self.rose = set_up_again(self.fabric, rose)
            yield self.epoch

    def steps(self) -> Iterator[Step]:
        """Yield the steps left of the epoch; end early at the run's last, or when asked to stop.

        Raises:
            RoseError, OSError: on the process that cannot read a tile; others exit with code 2.
        """
        self.sampler.set_position(self.epoch, self.step)
        batches = iter(self.loader)
        while self.step < self.sampler.steps_per_epoch and not self.finished:
            step = self._next_step(batches)
            if step is None:
                return
            yield step

    def check(self, step: Step) -> list[float]:
        """Return the losses of a step about to be taken, as of `Step.losses`.

        Raises:
            RoseError: on the first process, if one is not finite; the others exit with code 2.
        """
        losses = self.fabric.all_reduce(step.losses.clone()).tolist()
        if not all(map(math.isfinite, losses)):  # on one process, so on all
            faulty = [item for item in gather(self.fabric, (step.losses.tolist(), step.names))
                      if not all(map(math.isfinite, item[0]))]
            names = [name for _, batch in faulty for name in batch]
            values = zip(LOSSES, faulty[0][0] if faulty else losses, strict=False)
            end_all(self.fabric, RoseError(not_finite(
                ", ".join(f"{name} {loss}" for name, loss in values), names, self.epoch,
                self.step + 1, self.last_saved, "lower blr, or use precision=32-true")))
        return losses

    def follow(self) -> None:
        """Let the momentum encoder, if there is one, follow the step of the optimiser."""
        if self.momentum is not None:
            self.momentum.follow(self.rose.module.image_encoder, self.global_step + 1)

    def count(self, losses: list[float]) -> None:
        """Record a step."""
        self.step, self.global_step = self.step + 1, self.global_step + 1
        lr = self.optimizer.param_groups[0]["lr"]
        self.record.step(self.epoch, self.step, self.global_step, losses,
                         {"lr": lr, **self.tuning.rates(lr)})

    def end_epoch(self) -> None:
        """Save every `save_every` epochs, at the run's end, and when asked to stop; then exit."""
        complete, epoch = self.step == self.sampler.steps_per_epoch, self.epoch
        if complete:
            self.epoch, self.step = self.epoch + 1, 0
        stopping = self.stop.agreed(self.fabric)
        if complete and (epoch % self.cfg.save_every == 0 or epoch == self.cfg.total_epoch):
            self._save(f"model_{epoch}.tar")
        elif stopping or self.finished:
            self._save("last.tar")
        if stopping and not self.finished:
            self.record.close()
            self.fabric.print(f"Stopped by {self.stop.received} in epoch {epoch} after step "
                              f"{self.global_step} of {self.total_steps}; saved "
                              f"{self.last_saved}. The same command continues there.")
            sys.exit(0)

    def network(self) -> Rose | None:
        """Return the whole Rose on the first process, None on the others. All must call it."""
        if not is_sharded(self.rose):
            return self.rose.module if self.fabric.is_global_zero else None
        state = whole(self.rose.module.state_dict(), keep=self.fabric.is_global_zero)
        if not self.fabric.is_global_zero:
            return None
        rose = rebuild_rose(self.build)
        rose.load_state_dict(state)
        return rose.to(self.fabric.device)

    def _next_step(self, batches: Iterator[PretrainingBatch]) -> Step | None:
        """Return the step of the next batches; None if any process was asked to stop."""
        alone = self.fabric.world_size == 1
        if alone and self.stop.received:
            return None
        fault, own = None, []
        try:
            own = list(islice(batches, self.cfg.accumulate))
        except (RoseError, OSError) as error:
            if alone:
                raise
            fault = error
        masked = sum((batch.node_mask.sum() for batch in own),
                     torch.zeros((), device=self.fabric.device))
        if alone:
            return Step(self.fabric, self.rose, self.momentum, own, masked)
        flags = torch.tensor([float(self.stop.received is not None), float(fault is not None)],
                             device=self.fabric.device)
        masked, stopping, faults = self.fabric.all_reduce(torch.stack([masked, *flags]),
                                                          reduce_op="sum")
        if faults:
            end_all(self.fabric, fault, rank=gather(self.fabric, fault is not None).index(True))
        return None if stopping else Step(self.fabric, self.rose, self.momentum, own, masked)

    def _fingerprint(self) -> str:
        """Return a digest of the tiles' names, in order."""
        return digest_of("\n".join(self.tiles.names).encode())

    def _checkpoint_to_continue(self) -> dict[str, Any] | None:
        if self.cfg.resume == "never":
            if any(self.folder.glob("loss_record.txt")):
                raise ConfigError(f"{self.folder}: holds a run already, and resume=never; choose "
                                  "another save_dir=, or resume=auto to continue")
            return None
        self.last_saved = (newest_checkpoint(self.folder) if self.cfg.resume == "auto"
                           else Path(self.cfg.resume))
        if self.last_saved is None:
            return None
        checkpoint = read_checkpoint(self.last_saved)
        self._check_continuable(checkpoint)
        self._check_folder(checkpoint)
        return checkpoint

    def _check_folder(self, checkpoint: dict[str, Any]) -> None:
        """Raise ConfigError if a run continued from elsewhere has no folder of its own, or if the
        folder holds later checkpoints than the one continued."""
        newest = newest_checkpoint(self.folder)
        if self._elsewhere() and (newest or (self.folder / "loss_record.txt").exists()):
            raise ConfigError(f"{self.folder}: holds a run of its own, and "
                              f"resume={self.cfg.resume} is another's; choose another save_dir=")
        if newest and read_position(newest) > checkpoint["global_step"]:
            raise ConfigError(f"{newest}: is further than resume={self.cfg.resume}; to go back, "
                              "choose another save_dir=, or move it and all others that are "
                              "further out of the folder")

    def _elsewhere(self) -> bool:
        """Whether the run is continued from another folder."""
        return self.last_saved.parent.resolve() != self.folder.resolve()

    def _check_continuable(self, checkpoint: dict[str, Any]) -> None:
        now = asdict(self.cfg)
        then = {**asdict(type(self.cfg)()), **checkpoint["config"]}  # a younger key: its default
        # a half cosine depends on its end
        fixed = [*result_keys(type(self.cfg)), *["total_epoch"] * self.cfg.cos]
        changed = [f"{key}={written(now[key])} (there {written(then.get(key))})"
                   for key in fixed if now[key] != then.get(key)]
        positions = checkpoint["build"].get("image_positions", "rose")
        if self.cfg.image_positions not in (None, positions):
            changed.append(f"image_positions={self.cfg.image_positions} (there {positions})")
        if checkpoint["tiles"] != self._fingerprint():
            changed.append(f"the tiles of {self.cfg.data_path} (there others)")
        if changed:
            raise CheckpointError(f"{self.last_saved}: belongs to another run: "
                                  f"{', '.join(changed)}; use its values, or start anew in "
                                  "another folder with save_dir=")
        there = then["batch_size"] * then.get("accumulate", 1) * checkpoint["devices"]
        if self.tiles_per_step != there:
            raise CheckpointError(f"{self.last_saved}: its steps are of {there} tiles, but "
                                  f"batch_size={now['batch_size']} accumulate={now['accumulate']} "
                                  f"on {self.fabric.world_size} device(s) makes "
                                  f"{self.tiles_per_step}; "
                                  f"{_fitting(there, self.fabric.world_size, now['batch_size'])}, "
                                  "or start anew with save_dir=")

    def _continue(self, checkpoint: dict[str, Any] | None) -> None:
        self._check_same_everywhere(checkpoint)
        with together(self.fabric):
            if checkpoint is not None:
                with restoring(self.last_saved, "go on from an older checkpoint with resume=, or "
                                                "start anew with save_dir="):
                    self._put_back(checkpoint)
            if self.fabric.is_global_zero:
                self.folder.mkdir(parents=True, exist_ok=True)
                remove_unfinished(self.folder)
            self.record.start(self.global_step, checkpoint and checkpoint["record"],
                              keep_files=checkpoint is not None and not self._elsewhere())
            if self.fabric.is_global_zero:
                with replacing(self.folder / "config.yaml") as temporary:
                    temporary.write_text(OmegaConf.to_yaml(OmegaConf.structured(self.cfg)))
        if checkpoint and not self.finished:
            self.record.say(f"Continuing {self.last_saved}: epoch {self.epoch}, "
                            f"{self.global_step} of {self.total_steps} steps done.")

    def _put_back(self, checkpoint: dict[str, Any]) -> None:
        load_optimizer(self.optimizer.optimizer, checkpoint["optimizer"])
        self.record.check(checkpoint["record"])
        if self.momentum is not None:
            self.momentum.restore(checkpoint["momentum"])
        self.fabric.strategy.precision.load_state_dict(checkpoint["precision"])
        self.epoch, self.step, self.global_step = (checkpoint[name]
                                                   for name in ("epoch", "step", "global_step"))

    def _check_same_everywhere(self, checkpoint: dict[str, Any] | None) -> None:
        """Raise ConfigError if processes see other tiles, or another checkpoint."""
        seen = gather(self.fabric, (self._fingerprint(), checkpoint and checkpoint["global_step"]))
        for what, values in zip((f"data_path={self.cfg.data_path}", self.folder),
                                zip(*seen, strict=True), strict=True):
            if len(set(values)) > 1:
                other = next(rank for rank, value in enumerate(values) if value != values[0])
                end_all(self.fabric, ConfigError(f"{what}: is not the same on process 0 and "
                                                 f"process {other}; put it on a file system that "
                                                 "all hosts share"))

    def _save(self, name: str) -> None:
        check_weights(self.fabric, self.rose, self.epoch, self.step, name,
                      "lower blr, or use precision=32-true")
        states = {"model": self.rose.module.state_dict(), "optimizer": self.optimizer.state_dict()}
        if self.momentum is not None:
            states["momentum"] = self.momentum.weights()
        states = whole(states, keep=self.fabric.is_global_zero)
        with together(self.fabric):
            self._write(name, states)
        self.last_saved = self.folder / name

    def _write(self, name: str, states: dict[str, Any]) -> None:
        if self.fabric.is_global_zero:
            save_checkpoint(self.folder / name, {
                **states, "build": self.build,
                "precision": self.fabric.strategy.precision.state_dict(),
                "epoch": self.epoch, "step": self.step, "global_step": self.global_step,
                "devices": self.fabric.world_size, "record": self.record.state_dict(),
                "config": asdict(self.cfg), "tiles": self._fingerprint(),
                "label_names": self.tiles.label_names, "trained_on": self.tiles.describe(),
                "image_weights": self.image_weights,
            })
            if name != "last.tar":  # which holds an older step
                for outdated in ("last.tar", "last.safetensors"):
                    (self.folder / outdated).unlink(missing_ok=True)


def _fitting(tiles: int, devices: int, batch_size: int) -> str:
    """Return values that make steps of `tiles` on `devices`."""
    if tiles % devices:
        return f"use a number of devices that divides {tiles}"
    own = tiles // devices
    fits = next(size for size in range(min(batch_size, own), 0, -1) if own % size == 0)
    return f"use batch_size={fits} accumulate={own // fits}"


def fitted(cfg: TrainConfig, tiles: TileDataset) -> TrainConfig:
    """Return `cfg` with the node width of the tiles, unless it gives one; raise TileError if that
    is not the tiles'."""
    width = node_width(tiles) if cfg.graph_in_dim is None else cfg.graph_in_dim + 1
    tiles.node_width = width
    tiles.store.graph(0, width)
    return replace(cfg, graph_in_dim=width - 1)
