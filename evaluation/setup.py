"""What all runs of an evaluation share: the tiles of each list, the network, and the folder."""

import json
from dataclasses import MISSING, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from datasets import TileDataset
from datasets.dealt_lists import fold_folder, parse_fold
from datasets.labelled import LabelledTiles, read_list, splits_command
from datasets.list_quality import shortcomings_of
from datasets.osm_degradation import OsmDegradation
from datasets.sample_city.tiles import ensure_sample
from datasets.targets import CLASSES
from evaluation.checks import (
    ADDED,
    PROBES,
    adds_statistics,
    check_keys,
    check_thinned,
    counts_osm,
    draws_osm,
    pools_mlp,
    starts_from,
)
from evaluation.keys import EvaluateConfig, default_folder
from evaluation.knn import nearest_model
from evaluation.osm_statistics import channels_of
from evaluation.probe_features import FrozenFeatures
from evaluation.problem import Problem
from models import build_rose, registry
from models.downstream import Downstream
from models.heads import STATISTICS, Head, differences, has_beside
from models.image_weights import describe_image_weights
from models.network_file import NetworkFile
from models.rose import MODEL_KEYS
from models.stated import stated_positions
from training import compatibility, own_city
from training.image_tuning import check_freeze
from utils.cli.overrides import written
from utils.config import choices_of, result_values
from utils.errors import CheckpointError, ConfigError, TileError
from utils.files import digest_of

SCRATCH_ENCODER = "vit_base_patch16_224"
GRAPH_IN_DIM = 524  # the default of `build_rose`
OPTIONAL_TEST = "test.txt"  # a dataset may lack it; a list of another name must exist


class Setup:
    """What all seeds of an evaluation share; raise RoseError if it cannot be used as asked.

    Attributes:
        network: the file whose network is evaluated; None for random weights without one.
        build: arguments of `build_rose`.
        trained: `network`; None if its weights are not used.
        image_weights: path and sha256 of the file that the image encoder starts from, if any.
        finetuned: the head that `trained` has; None for a pretrained network.
        lists: "train", "val" and, if there is one, "test" -> indices of tiles of `dataset`.
        reported: "test" if there is such a list and protocol=honest, else "val".
        folder: of the evaluation; each seed has one in it.
        features: of a linear probe's lists, once they are computed.
    """

    def __init__(self, cfg: EvaluateConfig, fabric: Fabric, problem: Problem):
        degradation_of(cfg, 0)
        check_keys(cfg)
        self.image_weights = describe_image_weights(cfg.image_weights)
        cfg = _untrained(cfg) if cfg.mode == "knn" else cfg
        self.cfg, self.fabric, self.problem = cfg, fabric, problem
        self.network, self.build = self._choose_network()
        self.trained = None if cfg.mode == "scratch" else self.network
        self.finetuned = self.trained and self.trained.head if cfg.mode != "knn" else None
        self.cfg = cfg = self._as_finetuned()
        check_thinned(cfg)
        self._check_epochs()
        ensure_sample(fabric, cfg.data_root, cfg.sample_tiles)
        self.dataset = self._open_tiles()
        problem.settle(self.dataset)
        self._check_head()
        self.lists = self._read_lists()
        self.cfg, chosen = own_city.settled_tuning(cfg, len(self.lists["train"]),
                                                   self.build["image_encoder"])
        fabric.print(*chosen, sep="\n", end="\n" * bool(chosen))
        check_freeze(cfg.freeze, self.cfg.epochs, "epochs")
        self.reported = "test" if "test" in self.lists and cfg.protocol == "honest" else "val"
        problem.learn(self.tiles("train", cfg.seeds[0]), self.tiles("val", cfg.seeds[0]),
                      self.reported_tiles(degradation_of(cfg, cfg.seeds[0])))
        if self.finetuned is None:
            problem.head = replace(problem.head, statistics=adds_statistics(cfg),
                                   **self._channels())
        self.features: dict[str, FrozenFeatures] = {}
        self.folder = Path(default_folder(cfg))

    @property
    def head(self) -> Head:
        """What a model is for."""
        return self.finetuned or self.problem.head

    @property
    def measures(self) -> bool:
        """Whether a fine-tuned model is only measured."""
        return self.cfg.epochs == 0 and self.cfg.mode != "knn"

    def tiles(self, part: str, seed: int) -> LabelledTiles:
        """Return the tiles of a list with their targets, and with OSM objects as the keys degrade
        them for a run's seed."""
        return self.problem.tiles(self.dataset, self.lists[part], degradation_of(
            self.cfg, seed, training=part != self.reported))

    def reported_tiles(self, degradation: OsmDegradation) -> LabelledTiles:
        """Return the reported tiles with OSM objects of a quality; raise RoseError if the tiles do
        not allow it, or none of them lies in the quarter that loses its objects."""
        tiles = self.problem.tiles(self.dataset, self.lists[self.reported], degradation)
        if not any(map(tiles.degrade.reaches, tiles.indices)):
            raise ConfigError(f"remove_what={degradation.remove_what}: none of the {len(tiles)} "
                              f"{self.reported} tiles lies there; name another quarter, or "
                              "another list with test_file=")
        return tiles

    def build_model(self, seed: int) -> Downstream:
        """Return a seed's model as it is before training: with a checkpoint's weights, or random
        ones."""
        if self.finetuned:
            model = self.trained.downstream()
        else:
            rose = (self.trained.rose() if self.trained
                    else build_rose(**self.build, image_weights=self.cfg.image_weights))
            model = (nearest_model(rose, self.head, self.cfg.knn_k) if self.cfg.mode == "knn"
                     else self.head.build(rose))
        model.know_tags(self.dataset.tags)
        if self.finetuned is None and has_beside(self.head):
            self.problem.fit_beside(model, self.tiles("train", seed), self.tiles("val", seed), seed)
        compatibility.check_image_size(
            self.trained.path if self.trained else f"image_encoder={self.build['image_encoder']}",
            model.rose.image_encoder.patch, self.cfg.image_size)
        return model.freeze() if self.cfg.mode == "linear" else model

    def seed_folder(self, seed: int) -> Path:
        """Return the folder of a seed's outputs."""
        return self.folder / f"seed_{seed}"

    def identity(self, seed: int) -> dict[str, Any]:
        """Return all that a run's figures depend on, as JSON."""
        values = result_values(self.cfg)
        values |= {"seed": seed, "device_count": self.fabric.world_size,
                   "checkpoint_sha256": self.trained and self.trained.sha256,
                   "tiles_and_targets": self.tiles_and_targets}
        if self.image_weights:
            values["image_weights_sha256"] = self.image_weights["sha256"]
        if self.problem.record and self.dataset.classes != CLASSES:
            values["classes"] = self.problem.record["classes"]
        values |= {f"build.{name}": value for name, value in self.build.items()}
        return json.loads(json.dumps(values))

    @property
    def defaults(self) -> dict[str, Any]:
        """Return the defaults of the keys, which runs had that are older than a key."""
        return {item.name: item.default for item in fields(self.cfg) if item.default is not MISSING}

    @cached_property
    def tiles_and_targets(self) -> str:
        """A digest of the lists' tiles and of the targets that `learn` read."""
        names = [[self.dataset.names[i] for i in indices] for indices in self.lists.values()]
        return digest_of([names, self.problem.seen])

    def remarks(self) -> list[str]:
        """Return what a reader of the figures must know of the checkpoint and the lists."""
        remarks = self.shortcomings()
        if self.trained and self.trained.path.stem == "last":
            remarks.append(f"{self.trained.path} is of a pretraining run that was stopped before "
                           "its end")
        modality = registry.MODALITIES[self.cfg.modality]
        if "osm" not in self.dataset.modalities and modality.reads_osm:
            remarks.append(f"{self.dataset.root}: its tiles were made with osm=null, and the "
                           "model, which was trained with OSM, sees every one as a tile without "
                           "objects; expect less of it")
        if self.cfg.mode == "knn":
            remarks += self.trained.notes_on_rose if self.trained else []
            uses = [("train", self.reported, "are training tiles, each its own nearest")]
        else:
            remarks += self._remarks_of_choice()
            uses = [("train", part, "trained the model")
                    for part in sorted({"val", self.reported})]
            if self.reported == "test":
                uses.append(("val", "test", "chose the epoch"))
        for other, part, use in uses:
            shared = set(self.lists[other]) & set(self.lists[part])
            if shared:
                remarks.append(f"of the {part} tiles, {len(shared)} also {use}: the figures are "
                               "better than on new tiles")
        return remarks

    def _remarks_of_choice(self) -> list[str]:
        """Return a remark if the epoch was chosen on the tiles that are reported."""
        if self.reported == "test":
            return []
        why = ("as protocol=release has it" if self.cfg.protocol == "release"
               else f"there is no {self.cfg.test_file}")
        return [f"the epoch was chosen on the tiles that are reported ({why}): the figures are "
                "better than on new tiles"]

    def shortcomings(self) -> list[str]:
        """Return why figures on these lists say little, a sentence each."""
        files = self._list_files()
        seen = dict(zip(("train", "val", self.reported), self.problem.seen, strict=True))
        if self.measures:
            seen = {self.reported: seen[self.reported]}
        elif self.cfg.mode == "knn":
            seen = {part: seen[part] for part in ("train", self.reported)}
        return [line for part, targets in seen.items()
                for line in shortcomings_of(files[part], len(self.lists[part]), part == "train",
                                            **self.problem.for_shortcomings(targets))]

    def _choose_network(self) -> tuple[NetworkFile | None, dict[str, Any]]:
        """Return the network's file, if there is one, and the arguments of `build_rose`."""
        cfg, checkpoint = self.cfg, _choose_checkpoint(self.cfg)
        names = ("image_positions", *(name for name in MODEL_KEYS if hasattr(cfg, name)))
        choices = {name: getattr(cfg, name) for name in names if getattr(cfg, name) is not None}
        if checkpoint is None:
            encoder = cfg.image_encoder or own_city.scratch_encoder(cfg) or SCRATCH_ENCODER
            network, build = None, {"image_encoder": encoder, "recipe": cfg.recipe or "rose",
                                    **choices}
        else:
            network = NetworkFile(checkpoint, cfg.image_encoder, **choices)
            build = network.build
        build = {**build, "pretrained": cfg.pretrained}
        return network, build | stated_positions(**build, image_weights=cfg.image_weights)

    def _as_finetuned(self) -> EvaluateConfig:
        """Return the keys with what a fine-tuned model adds to patches and totals as its file
        says."""
        if self.finetuned is None:
            return self.cfg
        added = {"patch_input": STATISTICS if self.finetuned.statistics else "pixels"}
        if hasattr(self.cfg, "count_objects"):
            added["count_objects"] = bool(self.finetuned.counts)
        if hasattr(self.cfg, "patch_mlp"):
            added["patch_mlp"] = self.finetuned.mlp is not None
        if not registry.MODALITIES[self.finetuned.modality].draws_osm:
            added["draw_objects"] = bool(self.finetuned.channels)
        cfg = replace(self.cfg, **added)
        if kept := [f"{key}={written(getattr(cfg, key))}" for key, (has, _) in ADDED.items()
                    if has(cfg) != has(self.cfg)]:
            self.fabric.print(f"note: {self.trained.path} was fine-tuned with {' '.join(kept)}; "
                              "other values of such keys are ignored")
        return cfg

    def _channels(self) -> dict[str, tuple[str, ...]]:
        """Return the head's channels of the objects that are drawn, counted, or read by an MLP of
        patches, of one seed, so that all models of an evaluation have the same; none of what is
        not there."""
        mlp, reads_osm = pools_mlp(self.cfg), registry.MODALITIES[self.cfg.modality].reads_osm
        asked = {"channels": draws_osm(self.cfg), "counts": counts_osm(self.cfg),
                 "mlp": mlp and reads_osm}
        channels = channels_of(self.tiles("train", 0)) if any(asked.values()) else ()
        return {name: channels for name in asked if asked[name]} | (
            {"mlp": ()} if mlp and not reads_osm else {})

    def _open_tiles(self) -> TileDataset:
        """Open the tiles and check that the network can read their nodes; a network from scratch
        without a checkpoint is made to fit them."""
        tiles = TileDataset(self.cfg.data_root, self.cfg.cities, self.cfg.image_size)
        self._check_modality(tiles)
        if registry.MODALITIES[self.cfg.modality].reads_osm:
            compatibility.check_one_text(tiles)
        tiles.node_width = compatibility.node_width(tiles)
        if self.network is None:
            self.build["graph_in_dim"] = tiles.node_width - 1
        elif "osm" in tiles.modalities:
            width = self.build.get("graph_in_dim", GRAPH_IN_DIM) + 1
            compatibility.check_node_width(self.network.path, width, tiles)
            if self.trained and registry.MODALITIES[self.cfg.modality].reads_osm:
                compatibility.check_tiles_text(self.trained, tiles)
        return tiles

    def _check_modality(self, tiles: TileDataset) -> None:
        """Raise TileError if the modality reads what the tiles do not have; a fine-tuned model of
        both may be measured without objects."""
        modality = registry.MODALITIES[self.cfg.modality]
        measured = self.measures and modality.reads_image
        others = [f"modality={name}" for name in choices_of(type(self.cfg), "modality")
                  if set(registry.MODALITIES[name].reads) <= set(tiles.modalities)]
        remedy = (f"pass {' or '.join(others)}" if others else
                  "prepare them with raster=, or estimate totals of a tile instead, with "
                  "evaluate_pop_fusion.py modality=osm")
        compatibility.check_modalities(tiles, ["image"] if measured else modality.reads,
                                       f"modality={self.cfg.modality}", remedy)

    def _check_epochs(self) -> None:
        """Raise ConfigError if a fine-tuned model is to be measured, and none is there."""
        if self.finetuned is None and self.measures:
            missing = (f"{self.trained.path} holds none" if self.trained
                       else "mode=scratch takes none")
            raise ConfigError(f"epochs=0: measures a fine-tuned model as it is, and {missing}; "
                              "give the best.safetensors of an evaluation as checkpoint=, or "
                              "more epochs")

    def _check_head(self) -> None:
        """Raise CheckpointError if a fine-tuned model is asked to be another."""
        if self.finetuned and (differing := differences(self.finetuned, self.problem.head)):
            raise CheckpointError(f"{self.trained.path}: holds a model fine-tuned for something "
                                  f"else: {', '.join(differing)}; ask for what it is, or give a "
                                  "checkpoint of train_rose.py")

    def _read_lists(self) -> dict[str, list[int]]:
        """Return the lists' tiles: to train and choose the epoch on, of `train_cities`; to report,
        of `test_cities`."""
        cfg, files, root = self.cfg, self._list_files(), self.dataset.root
        folder = Path(files["val"]).parent
        if cfg.fold and not (root / folder).is_dir():
            raise TileError(f"fold={cfg.fold}: {root} has no folder {folder} with the fold's "
                            "lists; write those of all folds with "
                            f"{splits_command(root, fold=cfg.fold)}")
        if cfg.test_file == OPTIONAL_TEST and not (root / files["test"]).is_file():
            del files["test"]
        if cfg.test_cities and ("test" not in files or cfg.protocol == "release"):
            why = ("protocol=release reports the val tiles, which are of train_cities; pass "
                   "protocol=honest" if "test" in files else
                   f"there is no {OPTIONAL_TEST} whose tiles could be of these cities; write lists "
                   f"with {splits_command(root)}")
            raise ConfigError(f"test_cities=[{','.join(cfg.test_cities)}]: {why}")
        key = {"train": "train_cities", "val": "train_cities", "test": "test_cities"}
        return {part: read_list(self.dataset, file, f"{part}_file", key[part],
                                getattr(cfg, key[part])) for part, file in files.items()}

    def _list_files(self) -> dict[str, str]:
        """Return the list of each part, below the dataset's folder."""
        cfg = self.cfg
        folder = Path(fold_folder(*parse_fold("fold", cfg.fold)) if cfg.fold else "")
        files = {"train": cfg.train_file, "val": cfg.val_file, "test": cfg.test_file}
        return {part: str(folder / file) for part, file in files.items() if file}


def degradation_of(cfg: EvaluateConfig, seed: int, training: bool = False) -> OsmDegradation:
    """Return what the keys do to the OSM objects of the reported tiles, or of those for training
    and validation, in a run with `seed`."""
    removes = not training or cfg.remove_while_training
    shifts = not training or cfg.shift_while_training
    removal = (cfg.remove_ratio, cfg.remove_what) if removes else ()
    return replace(OsmDegradation(*removal), reads=cfg.osm_reads, seed=seed,
                   shift=cfg.osm_shift if shifts else 0.0)


def _choose_checkpoint(cfg: EvaluateConfig) -> Path | None:
    """Return None if no file is needed: for a probe of an image encoder alone; or mode=scratch with
    an encoder named, or without a run that says what the network is like."""
    if cfg.mode in PROBES and starts_from(cfg):
        return None
    if cfg.mode == "scratch" and cfg.checkpoint is None and (
            cfg.image_encoder is not None or compatibility.last_run(cfg.save_root_dir) is None):
        return None
    return compatibility.find_checkpoint(cfg.checkpoint, cfg.save_root_dir)


def _untrained(cfg: EvaluateConfig) -> EvaluateConfig:
    """Return the keys of mode=knn without those of a training, which then do not identify it."""
    return replace(cfg, epochs=0, **({"decoder": "linear"} if hasattr(cfg, "decoder") else {}))
