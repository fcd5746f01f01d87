"""A program: its keys, its choices among files or values, and where its outputs go.

Every program is described once, beside its keys; the command line (`command.py`), `--help`
(`help.py`), other programs and calls from Python read it here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from hydra.conf import HydraConf, RunDir, SweepDir
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from utils.cli.overrides import plain
from utils.config import keys_of
from utils.files import digest_of
from utils.recipes import RECIPES

CONFIG_DIR = Path(__file__).resolve().parents[2] / "configs"
NAME_BYTES = 200  # a file system takes 255
PROGRAMS: dict[str, "Program"] = {}


class Scored(NamedTuple):
    """What a task returns.

    Attributes:
        score: what a sweeper optimises.
        figures: name -> value, for the table of a grid.
    """

    score: float
    figures: dict[str, float]


@dataclass(frozen=True)
class Choice:
    """A choice among values, as `text=clip`, or among files, as `experiment=sample`.

    Attributes:
        name: the key on the command line, and Hydra's config group.
        default: what is chosen otherwise; None: nothing.
        meaning: what `--help` says of it.
        options: option -> the values that it brings; None: the yaml files in
            configs/PROGRAM/NAME/ and in NAME/ of a user's own --config-dir.
    """

    name: str
    default: str | None
    meaning: str
    options: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Program:
    """What a command line is made from.

    Attributes:
        name: of the program.
        schema: dataclass of its keys.
        title, example: what `--help` begins with.
        choices: in the order in which they apply; a later one wins.
        positional: keys that arguments without a key are given to, in this order; one whose
            values are lists takes all that are left.
        implied: returns further overrides that follow from those given, as texts by key; what is
            given wins.
        folder: (root key, key) that say where the outputs go, the root key being "" if the other
            says it alone; None: the outputs have no folder of their own.
        default_folder: returns the folder of a config; by default the two keys joined.
        named_by: the keys that `default_folder` depends on.
        forward: the programs whose keys can be given, too: the task also receives, as they were
            given, the overrides of keys that `schema` does not have.
        direction: whether a better score is smaller ("minimize") or larger ("maximize").
    """

    name: str
    schema: type
    title: str
    example: str
    choices: Sequence[Choice] = ()
    positional: Sequence[str] = ()
    implied: Callable[[Mapping[str, str]], list[str]] | None = None
    folder: tuple[str, str] | None = None
    default_folder: Callable[[Any], str] | None = None
    named_by: Sequence[str] = ()
    forward: Sequence["Program"] = ()
    direction: str = "minimize"

    def __post_init__(self) -> None:
        PROGRAMS[self.name] = self

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Be known in the process that a launcher starts, too."""
        self.__dict__.update(state)
        PROGRAMS[self.name] = self

    @property
    def config_dir(self) -> Path:
        """The folder of its choices among files, or if it has none, that of all programs."""
        own = CONFIG_DIR / self.name
        return own if own.is_dir() else CONFIG_DIR

    @property
    def names(self) -> list[str]:
        """The names of its keys and choices."""
        return [*dict.fromkeys([*keys_of(self.schema), *(item.name for item in self.choices)])]

    def choice(self, name: str) -> Choice | None:
        """Return the choice of that name, None if there is none."""
        return next((choice for choice in self.choices if choice.name == name), None)

    def options(self, choice: Choice, own: Path | None = None) -> list[str]:
        """Return what can be chosen.

        Args:
            own: a user's --config-dir.
        """
        if choice.name == "recipe":
            return list(RECIPES)
        if choice.options is not None:
            return list(choice.options)
        folders = [folder / choice.name for folder in (self.config_dir, own) if folder]
        return sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})

    def run_folder(self, cfg: Any) -> str:
        """Return where the outputs of `cfg` go."""
        root_key, key = self.folder
        if self.default_folder:
            return self.default_folder(cfg)
        return str(Path(getattr(cfg, root_key) if root_key else "", getattr(cfg, key)))

    def grid_folder(self, cfg: Any, swept: Sequence[str]) -> str:
        """Return where the folders of a grid's runs go, if its runs differ in the keys `swept`."""
        moves = self.default_folder and getattr(cfg, self.folder[1]) is None
        if moves and set(swept) & set(self.named_by):
            return cfg.save_root_dir
        return self.run_folder(cfg)

    def placed(self, cfg: Any, folder: str) -> Any:
        """Return `cfg` with its outputs in `folder`."""
        root_key, key = self.folder
        root = Path(getattr(cfg, root_key) if root_key else ".").resolve()
        path = Path(folder).resolve()
        inside = path.is_relative_to(root)
        return replace(cfg, **{key: str(path.relative_to(root) if inside else path)})

    def register(self) -> None:
        """Tell Hydra of the program's keys, choices and folders."""
        store, keys = ConfigStore.instance(), keys_of(self.schema)
        store.store(name=f"{self.name}_keys", node=self.schema)
        for choice in self.choices:
            if choice.default is None:  # Hydra takes no `choice=null`
                store.store(group=choice.name, name="null", node={}, package="_global_")
            for option, node in (choice.options or {}).items():
                store.store(group=choice.name, name=option, node=node, package=choice.name)
        for recipe, values in RECIPES.items() if self.choice("recipe") else ():
            chosen = {name: value for name, value in vars(values).items()
                      if name in keys and keys[name].metadata.get("by_recipe")}
            store.store(group="recipe", name=recipe, package="_global_",
                        node={"recipe": recipe, **chosen})
        store.store(name=self.name, node={"defaults": [
            f"{self.name}_keys", "_self_",
            *({choice.name: choice.default} for choice in self.choices)]})
        store.store(group="hydra", name="config", node=self._hydra_config())

    def _hydra_config(self) -> HydraConf:
        """Return Hydra's own config with the program's folders, for configs of a user's, too."""
        run, grid = ((f"${{rose_folder:{self.name}}}", f"${{rose_grid:{self.name}}}")
                     if self.folder else (".", f"multirun/{self.name}"))
        config = HydraConf(
            run=RunDir(run), sweep=SweepDir(dir=grid, subdir="${rose_run:}"), output_subdir=None,
            callbacks={"grid": {"_target_": "utils.cli.grid.GridFolder"}})
        config.job.name = self.name
        quiet = {"hydra_logging": "disabled", "job_logging": "disabled"}
        config.defaults = [{name: quiet.get(name, option) for name, option in entry.items()}
                           if isinstance(entry, dict) else entry for entry in config.defaults]
        return config


def swept_values(hydra_config: DictConfig) -> dict[str, str]:
    """Return key -> value of what tells a run of a grid from the others, in the order given."""
    fixed = set(hydra_config.job.config.override_dirname.exclude_keys)
    pairs = (override.lstrip("+").partition("=") for override in hydra_config.overrides.task)
    return {name: plain(value) for name, _, value in pairs if name not in fixed}


def run_name(swept: dict[str, str]) -> str:
    """Return the folder name of a run of a grid, as `modality=image,lr=1e-05`."""
    name = ",".join(f"{key}={value}" for key, value in swept.items()).replace("/", "_")
    if len(name.encode()) <= NAME_BYTES:
        return name
    digest = digest_of(name.encode())[:12]
    return f"{name.encode()[:NAME_BYTES - 13].decode(errors='ignore')}-{digest}"


def _folder(name: str, *, _root_: DictConfig) -> str:
    try:
        return PROGRAMS[name].run_folder(_root_)
    except (OmegaConfBaseException, TypeError):  # said by the check of all values
        return "."


def _grid(name: str, *, _root_: DictConfig) -> str:
    try:
        return PROGRAMS[name].grid_folder(_root_, list(swept_values(_root_.hydra)))
    except (OmegaConfBaseException, TypeError):
        return "."


def _run(*, _root_: DictConfig) -> str:
    return run_name(swept_values(_root_.hydra)) or str(_root_.hydra.job.num)


for _name, _resolver in (("rose_folder", _folder), ("rose_grid", _grid), ("rose_run", _run)):
    OmegaConf.register_new_resolver(_name, _resolver, replace=True)
