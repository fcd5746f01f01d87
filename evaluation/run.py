"""One run of an evaluation: a model trained with one seed, its best epoch chosen on val, and what
it gives on the tiles reported."""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Subset
from tqdm import tqdm

from datasets import EpochSampler, normalise
from datasets.labelled import LabelledTiles, collate_labelled
from evaluation.probe_features import (
    FOLDER,
    FrozenFeatures,
    collate_features,
    extract_features,
)
from evaluation.setup import Setup
from models.downstream import Downstream
from models.network_file import BEST, save_finetuned
from training.devices import compile_in_place, end_all, gather
from training.loader import DeviceLoader, device_loader
from training.schedule import build_downstream_optimizer, load_optimizer, set_polynomial_rate
from utils.checkpoint import read_safetensors
from utils.errors import CheckpointError, ConfigError, RoseError
from utils.files import remove_unfinished, replacing
from utils.outputs import write_csv
from utils.progress import passing_bar, progress_bar
from utils.rng import rng_state, set_rng_state
from utils.stopping import StopRequest, not_finite
from utils.tensor_files import FileFault, load_tensors

STATE, RESULTS, METRICS, PREDICTIONS = "state.tar", "results.json", "metrics.csv", "predictions.csv"
_FORMAT = "rose-evaluation-1"
DIGEST_LENGTH = 64  # of SHA-256 in hexadecimal
# of a run, in its saved state
_POSITION = ("rows", "best", "epoch", "step", "global_step", "loss_sum")


@dataclass(frozen=True)
class Measured:
    """What a model gives on a list of tiles.

    Attributes:
        loss: mean over the known pixels, or the tiles.
        figures: the problem's metrics.
        details: per tile, in the list's order, the problem's `detail`.
        metrics: that the figures are of.
    """

    loss: float
    figures: dict[str, float]
    details: list[list[float]]
    metrics: Any


class Run:
    """Model, optimiser, loaders and record of one seed, continued where it was stopped.

    Attributes:
        model, optimizer: as Fabric set them up.
        rows: of metrics.csv, an epoch each.
        best: {"epoch", "score"} of the best epoch so far; None before the first.
        total_steps, global_step: of the run, and done.
    """

    def __init__(self, setup: Setup, seed: int, stop: StopRequest):
        self.setup, self.cfg, self.fabric, self.problem, self.seed = setup, setup.cfg, setup.fabric, setup.problem, seed
        self.folder, self.stop = setup.seed_folder(seed), stop
        self.fabric.seed_everything(seed, verbose=False)
        model = setup.build_model()
        optimizer = build_downstream_optimizer(
            model.rose, model.decoder, self.cfg.lr, self.cfg.linear_lr if model.frozen
            else self.cfg.lr * self.cfg.lr_multi,
            self.cfg.weight_decay)
        self.train_tiles = setup.tiles("train", seed)
        self.sampler = EpochSampler(self.train_tiles, self.cfg.batch_size, seed,
                                    self.fabric.global_rank, self.fabric.world_size,
                                    keep_last=True)
        self.total_steps = self.cfg.epochs * self.sampler.steps_per_epoch
        self.rows: list[dict[str, float]] = []
        self.best: dict[str, float] | None = None
        self.epoch, self.step, self.global_step, self.loss_sum = 1, 0, 0, 0.0
        state = self._state_to_continue()
        if self.cfg.compile:
            compile_in_place(model, self.fabric.device)
        self.model, self.optimizer = self.fabric.setup(model, optimizer)
        for method in ("outputs", "decode"):
            # so that processes share gradients however the model is called
            self.model.mark_forward_method(method)
        self.cached = (self.cfg.mode == "linear" and self.cfg.cache_features
                       and not self.network.by_batch)
        self._loaders: dict[str, DeviceLoader] = {}
        torch.manual_seed(seed + self.fabric.global_rank)
        self._continue(state)

    def __enter__(self) -> "Run":
        quiet = self.global_step == self.total_steps
        self.bar = progress_bar(self.total_steps, self.global_step, "step",
                                enabled=self.fabric.is_global_zero and not quiet)
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    @property
    def network(self) -> Downstream:
        """The model without what Fabric put around it."""
        return self.model.module

    def epochs(self) -> Iterator[int]:
        """The epochs that are left, counted from 1, the one stopped in first."""
        while self.epoch <= self.cfg.epochs:
            self.bar.set_description(f"seed {self.seed}, epoch {self.epoch}/{self.cfg.epochs}")
            yield self.epoch

    def batches(self) -> Iterator[Sequence[Any]]:
        """The batches that are left of the epoch, the target last; ends early when the run is
        asked to stop."""
        self.model.train()
        self.sampler.set_position(self.epoch, self.step)
        for batch in self._loader("train"):
            yield batch
            if self.stop.agreed(self.fabric):
                return

    def outputs(self, inputs: Sequence[Any], model: nn.Module | None = None) -> Tensor:
        """What the model makes of a batch: of images and graphs, or of their representation where
        that is known."""
        model = model or self.model
        if self.cached:
            return model.decode(*inputs, (self.cfg.image_size, self.cfg.image_size))
        return model.outputs(*inputs)

    def share(self, target: Tensor) -> Tensor:
        """What this process's mean loss counts for in the mean over all processes, so that it does
        not matter how tiles are dealt."""
        weight = torch.tensor(float(self.problem.weight(target)), device=self.fabric.device)
        everywhere = self.fabric.all_reduce(weight.clone(), reduce_op="sum")
        return weight * self.fabric.world_size / everywhere.clamp(min=1)

    def count(self, loss: Tensor, inputs: Sequence[Any]) -> None:
        """Record a step that was taken on the batch `inputs`, its `loss` times this process's
        `share`.

        Raises:
            RoseError: its loss is not finite.
        """
        value = self.fabric.all_reduce(loss.detach().clone()).item()
        if not math.isfinite(value):  # on one process, so on all
            known = gather(self.fabric, (loss.item(), [] if self.cached else inputs[1].name))
            names = [name for found, batch in known for name in batch if not math.isfinite(found)]
            saved = self.folder / STATE
            end_all(self.fabric,
                    RoseError(not_finite(f"{value}", names, self.epoch, self.step + 1,
                                         saved if saved.exists() else None,
                                         "lower lr, lr_multi or linear_lr, in "
                                         "another save_path=")))
        self.step, self.global_step, self.loss_sum = self.step + 1, self.global_step + 1, self.loss_sum + value
        self.bar.set_postfix_str(f"loss {value:.4g}{self._best_in_words()}", refresh=False)
        self.bar.update()

    def end_epoch(self) -> None:
        """Measure the model on val, keep it where it is the best so far, and save the run; exit
        where it was asked to stop."""
        if self.step == self.sampler.steps_per_epoch:
            self._judge_epoch()
        asked = self.stop.agreed(self.fabric)
        self._save()
        if asked and self.epoch <= self.cfg.epochs:
            self.bar.close()
            self.fabric.print(f"Stopped by {self.stop.received} in epoch {self.epoch} after step "
                              f"{self.global_step} of {self.total_steps}; saved "
                              f"{self.folder / STATE}. The same command continues there.")
            sys.exit(0)

    @torch.no_grad()
    def measure(self, part: str) -> Measured:
        """What the model gives on the tiles of a list; the figures do not depend on batches or
        processes."""
        self.model.eval()
        metrics = self.problem.metrics(self.fabric.device)
        # weighted loss, weight
        sums = torch.zeros(2, dtype=torch.float64, device=self.fabric.device)
        details: list[list[float]] = []
        for *inputs, target in self._with_bar(self._loader(part), f"{part} tiles"):
            with self.fabric.autocast():
                # the plain network: processes may have unequally many batches
                outputs = self.outputs(inputs, self.network).float()
            weight = self.problem.weight(target)
            sums += torch.tensor([self.problem.loss(outputs, target, self.network).item() * weight,
                                  weight], dtype=torch.float64).to(sums)
            judged = self.problem.judged(outputs, self.network)
            metrics.update(judged, target)
            details += self.problem.details(judged, target)
        total, weight = self.fabric.all_reduce(sums, reduce_op="sum").tolist()
        return Measured(total / max(weight, 1), metrics.compute(), self._in_order(details),
                        metrics)

    def load_best(self) -> None:
        """The weights of the best epoch; those at hand where there was none."""
        if self.best is not None:
            self.network.load_state_dict(read_safetensors(self.folder / BEST)[0])

    @torch.no_grad()
    def predict(self, places: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Images [n, 3, H, W], what metrics take, and targets of tiles of the reported list, given
        by their places in it."""
        self.model.eval()
        images, graphs, target = collate_labelled([self.reported_tiles[place] for place in places])
        images, graphs = normalise(images.to(self.fabric.device)), graphs.to(self.fabric.device)
        with self.fabric.autocast():
            outputs = self.network.outputs(images, graphs)
        return images.cpu(), self.problem.judged(outputs.float(), self.network).cpu(), target

    @cached_property
    def reported_tiles(self) -> LabelledTiles:
        """The tiles that the result is of."""
        return self.setup.tiles(self.setup.reported, self.seed)

    def _judge_epoch(self) -> None:
        measured = self.measure("val")
        score = measured.figures[self.problem.score]
        rates = {"lr" if index == 0 else "head_lr": group["lr"]
                 for index, group in enumerate(self.optimizer.param_groups)}
        self.rows.append({"epoch": self.epoch, "train_loss": self.loss_sum / self.step,
                          "val_loss": measured.loss, **rates,
                          **measured.figures})
        if self.best is None or math.isnan(self.best["score"]) or self.problem.better * (
            score - self.best["score"]) > 0:
            self.best = {"epoch": self.epoch, "score": score}
            if self.fabric.is_global_zero:
                save_finetuned(self.folder / BEST, self.network, self.setup.head,
                               self.setup.dataset.describe())
        self.epoch, self.step, self.loss_sum = self.epoch + 1, 0, 0.0
        if self.fabric.is_global_zero:
            write_csv(self.folder / METRICS, self.rows)

    def _with_bar(self, loader: DeviceLoader, what: str) -> tqdm:
        """The batches of `loader`, with a bar of their own where they take long."""
        return passing_bar(loader, f"seed {self.seed}, {what}", enabled=self.fabric.is_global_zero)

    def _best_in_words(self) -> str:
        return f", best {self.problem.score} {self.best['score']:.4g} in epoch {self.best['epoch']}" if self.best else ""

    def _in_order(self, details: list[list[float]]) -> list[list[float]]:
        """The details of all processes, each of which has every world_size-th tile, in the order
        of the list."""
        parts = gather(self.fabric, details)
        return [parts[place % len(parts)][place // len(parts)]
                for place in range(sum(map(len, parts)))]

    def _loader(self, part: str) -> DeviceLoader:
        """Batches of a list: in the sampler's order for training, else this process's tiles in the
        list's order."""
        if part not in self._loaders:
            tiles = self.train_tiles if part == "train" else self.setup.tiles(part, self.seed)
            data, collate = (self._features(part, tiles),
                             collate_features) if self.cached else (tiles, collate_labelled)
            self._loaders[part] = self._build_loader(part, data, collate)
        return self._loaders[part]

    def _build_loader(self, part: str, data: LabelledTiles | FrozenFeatures,
                      collate: Callable) -> DeviceLoader:
        if part != "train":
            data = Subset(data, range(self.fabric.global_rank, len(data), self.fabric.world_size))
        workers = min(self.cfg.num_workers, math.ceil(len(data) / self.cfg.batch_size))
        return device_loader(self.fabric, data, self.cfg.batch_size, collate, workers,
                             self.sampler if part == "train" else None)

    def _features(self, part: str, tiles: LabelledTiles) -> FrozenFeatures:
        """Those of a list, shared by all seeds whose tiles are the same."""
        name = f"{part}-{self.seed if tiles.remove_ratio else 'all'}"
        known = self.setup.features
        if name not in known:
            loader = self._with_bar(self._build_loader(f"{part} in order", tiles,
                                                       collate_labelled),
                                    f"features of {part} tiles")
            known[name] = extract_features(self.network, tiles, loader, self.fabric,
                                           self.setup.folder / FOLDER / f"{name}.bin")
        return known[name]

    def _state_to_continue(self) -> dict[str, Any] | None:
        path = self.folder / STATE
        if self.cfg.resume == "never" and any((self.folder / name).exists()
                                              for name in (STATE, METRICS, RESULTS)):
            raise ConfigError(f"{self.folder}: holds a run already, and resume=never; choose "
                              "another save_path=, or resume=auto to continue it")
        if not path.is_file():
            return None
        try:
            state = load_tensors(path)
        except FileFault as fault:
            raise CheckpointError(f"{path}: {fault}; remove it to start the run again") from fault
        if not isinstance(state, dict) or state.get("format") != _FORMAT:
            raise CheckpointError(f"{path}: is no state of an evaluation; choose another "
                                  "save_path=")
        check_identity(path, state["identity"], self.setup.identity(self.seed))
        return state

    def _continue(self, state: dict[str, Any] | None) -> None:
        if self.fabric.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_unfinished(self.folder)
        self.fabric.barrier()
        if state is None:
            return
        # of a frozen network the decoder alone
        self.network.load_state_dict(state["model"], strict=False)
        load_optimizer(self.optimizer, state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        for name in _POSITION:
            setattr(self, name, state[name])
        set_rng_state(state["rng"][self.fabric.global_rank])
        self.fabric.print(f"Continuing {self.folder / STATE}: epoch {self.epoch}, "
                          f"{self.global_step} of {self.total_steps} steps done.")

    def _save(self) -> None:
        ranks = gather(self.fabric, rng_state())
        if self.fabric.is_global_zero:
            weights = self.network.state_dict()
            if self.network.frozen:
                weights = {name: value for name, value in weights.items()
                           if name.startswith("decoder.")}
            with replacing(self.folder / STATE) as temporary:
                torch.save({
                    "format": _FORMAT, "identity": self.setup.identity(self.seed),
                    "model": weights,
                    "optimizer": self.optimizer.state_dict(),
                    "precision": self.fabric.strategy.precision.state_dict(), "rng": ranks,
                    **{name: getattr(self, name) for name in _POSITION},
                }, temporary)
        self.fabric.barrier()


def fit(run: Run) -> None:
    """Train the model of `run` (Rose section 4): encoders and head at rates of their own, decayed
    step by step; val chooses the epoch."""
    for _ in run.epochs():
        for *inputs, target in run.batches():
            set_polynomial_rate(run.optimizer, run.global_step, run.total_steps)
            loss = run.problem.loss(run.outputs(inputs), target, run.network) * run.share(target)
            run.fabric.backward(loss)
            run.optimizer.step()
            run.optimizer.zero_grad()
            run.count(loss, inputs)
        run.end_epoch()
    run.load_best()


def check_identity(path: Path, there: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises CheckpointError where what lies at `path` is of a run whose figures depend on other
    values."""
    changed = [f"{name}={_brief(now.get(name))} (there {_brief(there.get(name))})"
               for name in now | there
               if now.get(name) != there.get(name)]
    if changed:
        raise CheckpointError(f"{path}: belongs to another run: {', '.join(changed)}; use its "
                              "values, or start anew with save_path=")


def _brief(value: Any) -> str:
    """A digest by its first letters."""
    return f"{value[:8]}..." if isinstance(value,
                                           str) and len(value) == DIGEST_LENGTH else str(value)
