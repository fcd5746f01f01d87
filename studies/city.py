"""From raster, OSM and labels to a map and a page, in one command.

    python -m studies.city raster=city.tif osm=city.osm.pbf labels=landuse.gpkg out=mycity
    python -m studies.city raster=city.tif osm=city.osm.pbf population=census.gpkg out=mycity \\
        zones=districts.gpkg resolution=0.6

Prepare tiles, pretrain on them, fine-tune for each target, map the city and draw one page. Each
step is a command of its own, which is printed: give it yourself to choose what this one chooses.
Keys of prepare_dataset.py and predict_scene.py can be given, too. The same command continues after
a stop, and passes over what is finished.
"""

import shlex
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from datasets.keys import PREPARE
from evaluation.keys import REGRESSION, SEGMENTATION
from inference.keys import EXTRACT, PREDICT
from reports import REPORT
from reports.keys import MAKE_REPORT
from studies.keys import CITY, CityConfig
from studies.steps import Step, run_steps
from training.keys import TRAIN
from utils.cli.command import command
from utils.cli.compose import read
from utils.cli.overrides import plain
from utils.cli.program import Program
from utils.config import keys_of
from utils.contents import Fields, Items, Table, Text, Whole, read_json
from utils.errors import ConfigError, RoseError
from utils.files import states
from utils.locks import alone_in
from utils.outputs import write_json
from utils.remedies import removal

RECORD = "city.json"
_RECORD = Fields({"commands": Items(Text()), "sources": Table(Items([Whole(), Whole()]))})
_SOURCES = ("raster", "osm")
OWN_CITY = "experiment=own_city"
# key of a target -> the evaluation that learns it, the overrides that choose it, and its name
_TARGETS: dict[str, tuple[Program, tuple[str, ...], str]] = {
    "labels": (SEGMENTATION, (), "land_use"),
    "population": (REGRESSION, ("target=pop",), "population"),
    "co2": (REGRESSION, ("target=co2",), "co2")}
_SET_HERE = ("layout", "overwrite", "dry_run", "checkpoint")
_AS_TRAINED = ("recipe", "relation_codes", "coordinates", "tile_px")  # a map has them from there
_TOTALS_ONLY, _CLASSES_ONLY = ("zones",), ("probabilities", "overlap")


@command(CITY)
def main(cfg: CityConfig, rest: list[str]) -> None:
    steps = city_steps(cfg, rest)
    with alone_in(Path(cfg.out), "out"):
        _claim(Path(cfg.out, RECORD), cfg, steps)
        run_steps(steps)
    print(f"\n{steps[-1].result}: the whole run as one page, to open in a browser")


def city_steps(cfg: CityConfig, rest: Sequence[str]) -> list[Step]:
    """Return the commands from raw files to the page.

    Args:
        rest: overrides of prepare_dataset.py and predict_scene.py.

    Raises:
        ConfigError: a key that neither has or that is set here, an impossible value, or sources
            from which nothing can be made.
    """
    out, tiles, pretrained = Path(cfg.out), Path(cfg.out, "tiles"), Path(cfg.out, "pretraining")
    name = cfg.city or out.resolve().name
    preparing, mapping = _dealt(cfg, rest)
    sources = [f"{key}={_given(getattr(cfg, key))}" for key in _SOURCES]
    wanted = {key: value for key in _TARGETS if (value := getattr(cfg, key))}
    both = None not in (cfg.raster, cfg.osm)
    if not (both or wanted):
        raise ConfigError("raster=null or osm=null: without both there is nothing to pretrain on, "
                          "expected something to learn instead; add labels=, population= or co2=")
    if cfg.raster is None and cfg.labels:
        raise ConfigError(f"labels={cfg.labels}: classes of pixels are learned from imagery, and "
                          "raster=null; give raster=, or population= or co2= to learn instead")
    steps = [_step("make the tiles", PREPARE, tiles / "cities" / name / "meta.json",
                   [*sources, *(f"{key}={value}" for key, value in wanted.items()),
                    f"out={tiles}", f"city={name}", *preparing], tiles / f".finished-{name}")]
    side = [f"image_size={plain(override.partition('=')[2])}" for override in preparing
            if override.startswith("tile_px=")]
    if both:
        steps.append(_step("pretrain without labels", TRAIN, pretrained / REPORT,
                           [f"data_path={tiles}", OWN_CITY, f"save_root_dir={out}",
                            f"save_dir={pretrained.name}", *side]))
    network = [f"checkpoint={pretrained}"] if both else [
        "mode=scratch", f"modality={'image' if cfg.osm is None else 'osm'}"]
    maps = []
    for key in wanted:
        program, chosen, title = _TARGETS[key]
        model, where = out / f"{title}_model", out / title
        unfit = _TOTALS_ONLY if program is SEGMENTATION else _CLASSES_ONLY
        steps += [
            _step(f"learn {title.replace('_', ' ')}", program, model / REPORT,
                  [f"data_root={tiles}", *network, *chosen, OWN_CITY, f"save_path={model}",
                   *side]),
            _step(f"map {title.replace('_', ' ')}", PREDICT, where / REPORT,
                  [*sources, f"checkpoint={model}", f"out={where}",
                   *(override for override in mapping if _key(override) not in unfit)])]
        maps += [where, model]
    if not wanted:
        maps.append(out / "features")
        steps.append(_step("map what the network sees", EXTRACT, maps[-1] / REPORT,
                           [*sources, f"checkpoint={pretrained}", f"out={maps[-1]}", *side,
                            *(override for override in mapping
                              if _key(override) in keys_of(EXTRACT.schema))]))
    pages = [*maps, *[pretrained] * both]
    steps.append(_step("draw the page", MAKE_REPORT, out / REPORT,
                       [*map(str, pages), f"out={out / REPORT}", f"title={name}"]))
    return steps


def _step(what: str, program: Program, result: Path, overrides: Sequence[str],
          work: Path | None = None) -> Step:
    return Step(what, f"{program.name}.py", tuple(overrides), result, work)


def _dealt(cfg: CityConfig, rest: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the overrides that the preparation takes, and those that a map takes."""
    rest = [_as_typed(override) for override in rest]
    for override in rest:
        name, _, value = override.partition("=")
        if name in _SET_HERE:
            raise ConfigError(f"{name}={value}: set by this command itself; leave it out, or give "
                              "the printed commands yourself")
    preparing = [override for override in rest if _key(override) in PREPARE.names]
    mapping = [override for override in rest if _key(override) in PREDICT.names
               and _key(override) not in _AS_TRAINED]
    sources = [f"raster={_given(cfg.raster)}", f"osm={_given(cfg.osm)}", "out=tiles"]
    read(PREPARE, *sources, "city=city", *preparing)
    read(PREDICT, *sources, "checkpoint=model", *mapping)
    if "keep_empty" not in map(_key, preparing) and None not in (cfg.raster, cfg.osm):
        preparing.append("keep_empty=true")  # rivers and fields, which may have no object
    return preparing, mapping


def _as_typed(override: str) -> str:
    """Return an override without the quotes that Hydra's grammar needs, which each command adds
    itself."""
    return f"{_key(override)}={plain(override.partition('=')[2])}"


def _key(override: str) -> str:
    return override.lstrip("+").partition("=")[0]


def _given(value: str | None) -> str:
    return "null" if value is None else value


def _claim(path: Path, cfg: CityConfig, steps: Sequence[Step]) -> None:
    """Record what the folder is made from; raise RoseError if it is made from something else."""
    paths = [Path(value) for name in (*_SOURCES, *_TARGETS) if (value := getattr(cfg, name))]
    request = {"commands": [step.command for step in steps],
               "sources": states(path for path in paths if path.exists())}
    if not path.exists() or not _begun(path.parent):
        write_json(path, request)
        return
    before = read_json(path, _RECORD, removal(path), RoseError)
    if before["commands"] != request["commands"]:
        there, here = next((there or "", here or "") for there, here in zip_longest(
            before["commands"], request["commands"]) if there != here)
        differing = [f"{word}{where}" for words, others, where in (
            (there, here, " there"), (here, there, " here"))
            for word in shlex.split(words) if word not in shlex.split(others)]
        raise RoseError(f"{path.parent}: holds a run of other commands ({', '.join(differing)}); "
                        "give the same keys, or another out=, or the printed commands one by one")
    changed = [name for name, state in request["sources"].items()
               if before["sources"].get(name) != state]
    if changed:
        raise RoseError(f"{changed[0]}: has changed since {path.parent} was begun, expected the "
                        "same file; name another out=, or remove the folder")


def _begun(folder: Path) -> bool:
    """Return whether a folder holds more than the record and the place of the tiles."""
    return any(folder.glob("tiles/cities/*")) or any(
        entry.name not in (RECORD, "tiles") for entry in folder.iterdir()
        if not entry.name.startswith("."))


if __name__ == "__main__":
    main()
