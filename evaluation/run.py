"""One run: a model trained with one seed, its best epoch chosen on val, its figures reported."""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset
from tqdm import tqdm

from datasets import EpochSampler
from datasets.augment import AugmentedLabels
from datasets.dropping import Dropping
from datasets.labelled import LabelledTiles, collate_labelled
from evaluation.keys import EvaluateConfig
from evaluation.probe_features import FOLDER, FrozenFeatures, collate_features, compute_features
from evaluation.setup import Setup
from evaluation.state import POSITION, STATE, read_state, start_again, write_state
from models.downstream import Downstream
from models.network_file import BEST, save_finetuned
from models.release import load_strictly
from training.devices import compile_in_place, end_all, gather, in_step, set_up_again, together
from training.finite import check_weights, not_finite
from training.image_tuning import ImageTuning
from training.loader import DeviceLoader, device_loader
from training.modes import in_evaluation_mode
from training.restoring import restoring
from training.schedule import build_downstream_optimizer, load_optimizer, set_polynomial_rate
from training.stopping import StopRequest
from utils.checkpoint import read_safetensors
from utils.errors import ConfigError, RoseError
from utils.files import remove_unfinished
from utils.outputs import write_csv
from utils.progress import passing_bar, progress_bar
from utils.rng import rng_state, set_rng_state
from utils.tables import format_number

RESULTS, METRICS, PREDICTIONS = "results.json", "metrics.csv", "predictions.csv"
_NEW_RATE = 10  # the rate of what is added to patches over the encoders', at most the head's
_LOWER = "lower lr, lr_multi or linear_lr, in another save_path="


@dataclass(frozen=True)
class Measured:
    """A model's figures on a list of tiles."""

    loss: float                 # mean over the known pixels, by class_weights, or the tiles
    figures: dict[str, float]   # the problem's metrics
    details: list[list[float]]  # per tile, in the list's order, the problem's `detail`
    metrics: Any                # computed the figures
    # per tile, in the list's order, the problem's `tally`, [n, ...] each; empty while it is trained
    tallies: dict[str, Tensor]


class Run:
    """Model, optimiser, loaders and record of one seed, continued where it was stopped.

    Attributes:
        model, optimizer: as Fabric set them up.
        rows: of metrics.csv, one an epoch that is measured on val.
        best: {"epoch", "score"} of the best epoch so far; None before the first.
        total_steps, global_step: steps of the run, and steps done.
    """

    def __init__(self, setup: Setup, seed: int, stop: StopRequest):
        self.setup, self.seed, self.stop = setup, seed, stop
        self.cfg, self.fabric, self.problem = setup.cfg, setup.fabric, setup.problem
        self.folder = setup.seed_folder(seed)
        self.fabric.seed_everything(seed, verbose=False)
        model = setup.build_model(seed)
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
        self._set_up(model)
        self.cached = model.fixed and self.cfg.cache_features
        self._loaders: dict[str, DeviceLoader] = {}
        torch.manual_seed(seed + self.fabric.global_rank)
        self._continue(state)

    def __enter__(self) -> "Run":
        unfinished = self.global_step < self.total_steps
        self.bar = progress_bar(self.total_steps, self.global_step, "step",
                                enabled=self.fabric.is_global_zero and unfinished)
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    @property
    def network(self) -> Downstream:
        """The model without Fabric's wrapper."""
        return getattr(self.model, "module", self.model)

    def remember(self) -> None:
        """Give a model of nearest neighbours the training tiles; raise TileError for too few."""
        self.network.decoder.remember(self.train_tiles, self.fabric.device,
                                      lambda: self._features("train", self.train_tiles))

    def epochs(self) -> Iterator[int]:
        """Yield the epochs that are left, counted from 1, beginning with the one stopped in."""
        while self.epoch <= self.cfg.epochs:
            self.bar.set_description(f"seed {self.seed}, epoch {self.epoch}/{self.cfg.epochs}")
            yield self.epoch

    def batches(self) -> Iterator[Sequence[Any]]:
        """Yield the batches left of the epoch, the target last; end early if asked to stop."""
        self.model.train()
        if self.tuning.begin(self.epoch):
            network, self.model = self.network, None
            self._share_gradients(set_up_again(self.fabric, network))
        self.sampler.set_position(self.epoch, self.step)
        for batch in in_step(self.fabric, self._loader("train")):
            yield batch
            if self.stop.agreed(self.fabric):
                return

    def outputs(self, inputs: Sequence[Any], model: nn.Module | None = None) -> Tensor:
        """Return the outputs for a batch: images and graphs, or their cached representation."""
        model = model or self.model
        if self.cached:
            return model.decode(*inputs, (self.cfg.image_size, self.cfg.image_size))
        return model.outputs(*inputs)

    def share(self, target: Tensor) -> Tensor:
        """Return this process's weight in the loss's mean over all, however tiles are dealt."""
        weight = torch.tensor(float(self.problem.weight(target)), device=self.fabric.device)
        everywhere = self.fabric.all_reduce(weight.clone(), reduce_op="sum")
        return weight * self.fabric.world_size / everywhere.where(everywhere > 0, 1)

    def count(self, loss: Tensor, inputs: Sequence[Any]) -> None:
        """Record a step, given its `loss` times `share`; raise RoseError if it is not finite."""
        value = self.fabric.all_reduce(loss.detach().clone()).item()
        if not math.isfinite(value):  # on one process, so on all
            self._end_not_finite(value, loss, inputs)
        self.step, self.global_step = self.step + 1, self.global_step + 1
        self.loss_sum += value
        best = self.best and (f", best {self.problem.score} {format_number(self.best['score'])} "
                              f"in epoch {self.best['epoch']}")
        self.bar.set_postfix_str(f"loss {format_number(value)}{best or ''}", refresh=False)
        self.bar.update()

    def end_epoch(self) -> None:
        """Measure on val every `val_every` epochs, keep the best model, and save the run; exit if
        asked to stop.

        Raises:
            RoseError: a weight or a figure is not finite; nothing is saved then.
        """
        check_weights(self.fabric, self.network, self.epoch, self.step, STATE, _LOWER)
        if self.step == self.sampler.steps_per_epoch:
            if judged_epochs(self.epoch, self.cfg) > judged_epochs(self.epoch - 1, self.cfg):
                self._judge_epoch()
            self.epoch, self.step, self.loss_sum = self.epoch + 1, 0, 0.0
        stopping = self.stop.agreed(self.fabric)
        self._save()
        if stopping and self.epoch <= self.cfg.epochs:
            self.bar.close()
            self.fabric.print(f"Stopped by {self.stop.received} in epoch {self.epoch} after step "
                              f"{self.global_step} of {self.total_steps}; saved "
                              f"{self.folder / STATE}. The same command continues there.")
            sys.exit(0)

    @torch.no_grad()
    def measure(self, part: str) -> Measured:
        """Return the model's figures on a list's tiles, independent of batches and processes; once
        it is trained, also what each tile adds to them."""
        trained = self.epoch > self.cfg.epochs
        metrics = self.problem.metrics(self.fabric.device)
        # weighted loss, weight
        sums = torch.zeros(2, dtype=torch.float64, device=self.fabric.device)
        details: list[list[float]] = []
        tallies: list[dict[str, Tensor]] = []
        loader = self._loader(part)
        with in_evaluation_mode(self.model), together(self.fabric):
            for *inputs, target in self._with_bar(loader, f"{part} tiles"):
                with self.fabric.autocast():
                    # without Fabric's wrapper: processes may have different numbers of batches
                    outputs = self.outputs(inputs, self.network).float()
                weight = self.problem.weight(target)
                loss = self.problem.loss(outputs, target, self.network).item()
                sums += torch.tensor([loss * weight, weight], dtype=torch.float64).to(sums)
                judged = self.problem.judged(outputs, self.network)
                metrics.update(judged, target)
                details += self.problem.details(judged, target)
                tallies += [self.problem.tally(judged, target)] if trained else []
        total, weight = self.fabric.all_reduce(sums, reduce_op="sum").tolist()
        measured = Measured(total / (weight or 1), metrics.compute(), self._in_order(details),
                            metrics, self._joined(tallies))
        self._check_finite(measured, part)
        return measured

    def load_best(self) -> None:
        """Load the weights of the best epoch, if there is one."""
        if self.best is not None:
            best = self.folder / BEST
            load_strictly(self.network, read_safetensors(best)[0], str(best))

    @torch.no_grad()
    def predict(self, indices: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Return uint8 images [n, 3, H, W], what metrics take, and targets of reported tiles."""
        images, graphs, target = collate_labelled([self.reported_tiles[i] for i in indices])
        inputs = (self.network.rose.normalise(images.to(self.fabric.device)),
                  graphs.to(self.fabric.device))
        with in_evaluation_mode(self.model), self.fabric.autocast():
            outputs = self.network.outputs(*inputs)
        return images, self.problem.judged(outputs.float(), self.network).cpu(), target

    @cached_property
    def reported_tiles(self) -> LabelledTiles:
        """The tiles that the result is of."""
        return self.setup.tiles(self.setup.reported, self.seed)

    def _end_not_finite(self, value: float, loss: Tensor, inputs: Sequence[Any]) -> None:
        losses = gather(self.fabric, (loss.item(), [] if self.cached else inputs[1].name))
        names = [name for own, batch in losses for name in batch if not math.isfinite(own)]
        saved = self.folder / STATE
        end_all(self.fabric, RoseError(not_finite(
            f"{value}", names, self.epoch, self.step + 1, saved if saved.exists() else None,
            _LOWER)))

    def _check_finite(self, measured: Measured, part: str) -> None:
        """Raise RoseError if a model's loss or score on a list is not finite."""
        score = measured.figures[self.problem.score]
        if math.isfinite(measured.loss) and math.isfinite(score):
            return
        figures = f"{measured.loss}, {self.problem.score} {score}, on the {part} tiles"
        if self.cfg.epochs == 0:
            end_all(self.fabric, RoseError(f"{self.setup.network.path}: the loss is not finite "
                                           f"({figures}); choose another checkpoint"))
        saved = self.folder / STATE
        end_all(self.fabric, RoseError(not_finite(
            figures, [], min(self.epoch, self.cfg.epochs), self.step,
            saved if saved.exists() else None, _LOWER)))

    def _judge_epoch(self) -> None:
        """Measure the epoch on val; keep its weights if its score is the best so far."""
        measured = self.measure("val")
        score = measured.figures[self.problem.score]
        groups = self.optimizer.param_groups
        rates = {"lr": groups[0]["lr"]}
        if len(groups) > 1:
            rates["head_lr"] = groups[-1]["lr"]
        rates |= self.tuning.rates(groups[0]["lr"])
        if len(self.network.added):
            rates["extra_lr"] = groups[-2]["lr"]
        self.rows.append({"epoch": self.epoch, "train_loss": self.loss_sum / self.step,
                          "val_loss": measured.loss, **rates, **measured.figures})
        if (self.best is None or math.isnan(self.best["score"])
                or self.problem.better * (score - self.best["score"]) > 0):
            self.best = {"epoch": self.epoch, "score": score}
        with together(self.fabric):
            if self.fabric.is_global_zero:
                if self.best["epoch"] == self.epoch:
                    save_finetuned(self.folder / BEST, self.network, self.setup.head,
                                   self.setup.dataset.describe())
                write_csv(self.folder / METRICS, self.rows)

    def _with_bar(self, loader: DeviceLoader, what: str) -> tqdm:
        """Return the batches of `loader`, with a bar of their own if they take long."""
        return passing_bar(loader, f"seed {self.seed}, {what}", enabled=self.fabric.is_global_zero)

    def _in_order(self, details: list[Any]) -> list[Any]:
        """Return in the list's order what all processes have of their tiles, dealt every
        world_size-th."""
        dealt = gather(self.fabric, details)
        return [dealt[index % len(dealt)][index // len(dealt)]
                for index in range(sum(map(len, dealt)))]

    def _joined(self, tallies: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return in the list's order the tallies of all processes' batches."""
        tiles = self._in_order([dict(zip(batch, of_tile, strict=True)) for batch in tallies
                                for of_tile in zip(*batch.values(), strict=True)])
        return {name: torch.stack([tile[name] for tile in tiles])
                for name in (tiles[0] if tiles else ())}

    def _loader(self, part: str) -> DeviceLoader:
        """Return batches of a list: in the sampler's order for training, else this process's tiles
        in the list's order."""
        if part not in self._loaders:
            tiles = self.train_tiles if part == "train" else self.setup.tiles(part, self.seed)
            data, collate = ((self._features(part, tiles), collate_features) if self.cached
                             else (self._augmented(part, tiles), collate_labelled))
            self._loaders[part] = self._build_loader(data, collate, part == "train")
        return self._loaders[part]

    def _augmented(self, part: str, tiles: LabelledTiles) -> Dataset:
        """Return the tiles as the network meets them: those to train on augmented, thinned out."""
        if part != "train":
            return tiles
        return AugmentedLabels(tiles, self.cfg.augment, self.seed,
                               Dropping(self.cfg.drop_objects, self.cfg.drop_graphs))

    def _build_loader(self, data: Dataset, collate: Callable,
                      sampled: bool = False) -> DeviceLoader:
        if not sampled:
            data = Subset(data, range(self.fabric.global_rank, len(data), self.fabric.world_size))
        workers = min(self.cfg.num_workers, math.ceil(len(data) / self.cfg.batch_size))
        return device_loader(self.fabric, data, self.cfg.batch_size, collate, workers,
                             self.network.rose.normalise, self.sampler if sampled else None)

    def _features(self, part: str, tiles: LabelledTiles) -> FrozenFeatures:
        """Return those of a list, shared by all seeds that have the same tiles."""
        name = f"{part}-{self.seed if tiles.degradation.is_drawn else 'all'}"
        computed = self.setup.features
        if name not in computed:
            loader = self._with_bar(self._build_loader(tiles, collate_labelled),
                                    f"features of {part} tiles")
            computed[name] = compute_features(self.network, tiles, loader, self.fabric,
                                              self.setup.folder / FOLDER / f"{name}.bin")
        return computed[name]

    def _set_up(self, model: Downstream) -> None:
        """Put the model on this process's device, with an optimiser if there is one to train."""
        if self.cfg.mode == "knn":  # Fabric sets up no module without trainable parameters
            self.model = model.to(self.fabric.device)
            return
        head_lr = self.cfg.linear_lr if model.frozen else self.cfg.lr * self.cfg.lr_multi
        self.tuning = ImageTuning(model.rose.image_encoder, self.cfg.freeze, self.cfg.layer_decay)
        optimizer = build_downstream_optimizer(model.rose, model.decoder, self.cfg.lr, head_lr,
                                               self.cfg.weight_decay, self.cfg.layer_decay,
                                               model.added, min(_NEW_RATE * self.cfg.lr, head_lr))
        model, self.optimizer = self.fabric.setup(model, optimizer)
        self._share_gradients(model)

    def _share_gradients(self, model: nn.Module) -> None:
        """Take a model that Fabric set up; processes share gradients whichever method is called."""
        self.model = model
        for method in ("outputs", "decode"):
            model.mark_forward_method(method)

    def _state_to_continue(self) -> dict[str, Any] | None:
        path = self.folder / STATE
        if self.cfg.resume == "never" and any((self.folder / name).exists()
                                              for name in (STATE, METRICS, RESULTS)):
            raise ConfigError(f"{self.folder}: holds a run already, and resume=never; choose "
                              "another save_path=, or resume=auto to continue it")
        return read_state(path, self.setup.identity(self.seed), self.setup.defaults,
                          self.sampler.steps_per_epoch,
                          lambda done: judged_epochs(done, self.cfg))

    def _continue(self, state: dict[str, Any] | None) -> None:
        with together(self.fabric):
            if self.fabric.is_global_zero:
                self.folder.mkdir(parents=True, exist_ok=True)
                remove_unfinished(self.folder)
            if state is not None:
                with restoring(self.folder / STATE, start_again(self.folder / STATE)):
                    self._put_back(state)
        if state is not None:
            self.fabric.print(f"Continuing {self.folder / STATE}: epoch {self.epoch}, "
                              f"{self.global_step} of {self.total_steps} steps done.")

    def _put_back(self, state: dict[str, Any]) -> None:
        if odd := self._trained_weights().keys() ^ state["model"].keys():
            raise ValueError(f"the weight {min(odd)} is on one side alone")
        self.network.load_state_dict(state["model"], strict=False)
        load_optimizer(self.optimizer, state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        for name in POSITION:
            setattr(self, name, state[name])
        set_rng_state(state["rng"][self.fabric.global_rank])

    def _trained_weights(self) -> dict[str, Tensor]:
        """Return the weights that a state holds: those of a frozen Rose are not among them."""
        return {name: value for name, value in self.network.state_dict().items()
                if not (self.network.frozen and name.startswith("rose."))}

    def _save(self) -> None:
        ranks = gather(self.fabric, rng_state())
        with together(self.fabric):
            if self.fabric.is_global_zero:
                write_state(self.folder / STATE, {
                    "identity": self.setup.identity(self.seed), "model": self._trained_weights(),
                    "optimizer": self.optimizer.state_dict(),
                    "precision": self.fabric.strategy.precision.state_dict(), "rng": ranks,
                    **{name: getattr(self, name) for name in POSITION},
                })


def judged_epochs(done: int, cfg: EvaluateConfig) -> int:
    """Return how many of the first `done` epochs are measured on val: every `val_every`-th, and the
    last."""
    return done // cfg.val_every + (done >= cfg.epochs and cfg.epochs % cfg.val_every > 0)


def fit(run: Run) -> None:
    """Train `run` (Rose section 4), encoders and head at rates of their own, decayed step by step;
    val chooses the epoch. A model of nearest neighbours only looks at the training tiles."""
    if run.cfg.mode == "knn":
        run.remember()
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
