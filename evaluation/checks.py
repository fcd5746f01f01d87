"""Which keys of an evaluation go together, whatever the tiles."""

from datasets.dealt_lists import parse_fold
from evaluation.keys import EvaluateConfig
from models import registry
from models.heads import STATISTICS
from training.image_tuning import frozen_epochs
from utils.cli.overrides import written
from utils.config import choices_of
from utils.errors import ConfigError
from utils.recipes import RECIPES

PROBES = ("linear", "knn")  # modes of a frozen network
# key -> the property of modalities whose models can have what it adds, and what others do
_ABLE = {"draw_objects": ("may_draw_osm", "draws no OSM objects"),
         "patch_input": ("may_add_statistics", "has no patches of an image"),
         "count_objects": ("reads_osm", "counts no OSM objects")}


def check_keys(cfg: EvaluateConfig) -> None:
    """Raise ConfigError for keys of which no evaluation can be made, whatever the network."""
    if (not cfg.seeds or len(set(cfg.seeds)) != len(cfg.seeds)
            or not 0 <= min(cfg.seeds) <= max(cfg.seeds) < 2**32):
        raise ConfigError(f"seeds={cfg.seeds}: expected one or more different numbers from 0 to "
                          f"{2**32 - 1}, such as [0,1,2]")
    target = getattr(cfg, "target", None)
    if cfg.task.rpartition("_")[2] in {"pop", "co2"} - {target}:
        raise ConfigError(f"task={cfg.task}: its rates are made for another target than {target}; "
                          f"choose task={target}, or one that ends so")
    _check_drawn(cfg)
    _check_added(cfg)
    if cfg.fold:
        parse_fold("fold", cfg.fold)
    frozen = frozen_epochs(cfg.freeze)
    if cfg.mode in PROBES and (frozen or cfg.layer_decay < 1):
        given = f"freeze={cfg.freeze}" if frozen else f"layer_decay={cfg.layer_decay:g}"
        raise ConfigError(f"{given}: mode={cfg.mode} trains no encoder; leave it out, or pass "
                          "mode=finetune")
    _check_image_weights(cfg)


def draws_osm(cfg: EvaluateConfig) -> bool:
    """Return whether the image encoder of a model sees OSM objects drawn."""
    modality = registry.MODALITIES[cfg.modality]
    return modality.draws_osm or (cfg.draw_objects and modality.may_draw_osm)


def adds_statistics(cfg: EvaluateConfig) -> bool:
    """Return whether a model adds their statistics to patches."""
    return (cfg.patch_input == STATISTICS
            and registry.MODALITIES[cfg.modality].may_add_statistics)


def counts_osm(cfg: EvaluateConfig) -> bool:
    """Return whether a model of totals counts OSM objects beside its network."""
    return (getattr(cfg, "count_objects", False)
            and registry.MODALITIES[cfg.modality].reads_osm)


def pools_mlp(cfg: EvaluateConfig) -> bool:
    """Return whether an MLP of patches stands beside a model of land use."""
    return getattr(cfg, "patch_mlp", False)


# key -> whether a model has what it adds to the network that was pretrained, and the value that
# leaves it out
ADDED = {"draw_objects": (draws_osm, "false"), "count_objects": (counts_osm, "false"),
         "patch_mlp": (pools_mlp, "false"), "patch_input": (adds_statistics, "pixels")}


def _check_drawn(cfg: EvaluateConfig) -> None:
    """Raise ConfigError if nearest neighbours are asked of a modality with a part beside the Rose
    that must be trained."""
    if cfg.mode == "knn" and registry.MODALITIES[cfg.modality].draws_osm:
        others = [name for name in choices_of(type(cfg), "modality")
                  if not registry.MODALITIES[name].draws_osm]
        raise ConfigError(f"modality={cfg.modality}: its projection of drawn objects must be "
                          "trained, and mode=knn trains nothing; pass mode=linear, or modality="
                          f"{' or '.join(others)}")


def _check_added(cfg: EvaluateConfig) -> None:
    """Raise ConfigError if a key asks for what a model of the modality cannot have. What a recipe
    sets is left out there; what differs from it was asked for by hand."""
    for key, (able, lacks) in _ABLE.items():
        off, usual = (getattr(RECIPES[name], key) for name in ("rose", cfg.recipe or "rose"))
        value = getattr(cfg, key, off)
        if value not in (off, usual) and not getattr(registry.MODALITIES[cfg.modality], able):
            others = [name for name in choices_of(type(cfg), "modality")
                      if getattr(registry.MODALITIES[name], able)]
            raise ConfigError(f"{key}={written(value)}: modality={cfg.modality} {lacks}, expected "
                              f"one of {', '.join(others)}; choose one of them, or leave {key} "
                              "out")


def check_thinned(cfg: EvaluateConfig) -> None:
    """Raise ConfigError if training tiles are to differ from epoch to epoch where each is looked at
    once, or something is to be trained where nothing is."""
    trained = {key: off for key, (has, off) in ADDED.items() if has(cfg)}
    thinned = {key: off for key, off in {"drop_objects": 0, "drop_graphs": 0,
                                         "augment": "none"}.items() if getattr(cfg, key) != off}
    if cfg.mode == "knn":
        given, does, more = trained | thinned, "trains nothing and looks at", ""
    elif cfg.mode == "linear" and cfg.cache_features and not trained:
        given, does, more = thinned, "looks at", ", or cache_features=false"
    else:
        return
    if given:
        first = next(iter(given))
        raise ConfigError(
            f"{first}={str(getattr(cfg, first)).lower()}: mode={cfg.mode} {does} each training "
            "tile once, and this is learned beside it, or changes it in every epoch; pass "
            f"{' '.join(f'{key}={off}' for key, off in given.items())}{more}")


def starts_from(cfg: EvaluateConfig) -> str:
    """Return the key that gives the image encoder trained weights without a checkpoint; "" if none
    does."""
    if cfg.image_weights:
        return f"image_weights={cfg.image_weights}"
    return "pretrained=true" if cfg.pretrained else ""


def _check_image_weights(cfg: EvaluateConfig) -> None:
    """Raise ConfigError unless weights of an image encoder alone start a training from scratch, or
    are probed by themselves."""
    given = starts_from(cfg)
    if not given or cfg.mode == "scratch":
        return
    if cfg.mode not in PROBES:
        raise ConfigError(f"{given}: is for mode=scratch, linear and knn; mode={cfg.mode} takes "
                          "the weights of a checkpoint; pass mode=scratch, or leave it out")
    if cfg.checkpoint is not None:
        raise ConfigError(f"{given}: mode={cfg.mode} probes it, or checkpoint={cfg.checkpoint}, "
                          "but not both; leave one of them out")
    if registry.MODALITIES[cfg.modality].reads_osm:
        raise ConfigError(f"{given}: mode={cfg.mode} modality={cfg.modality} would probe an OSM "
                          "encoder with random weights; pass modality=image, or a checkpoint "
                          "instead")
