"""Six small jobs, from raw files to maps, and their inputs."""

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.robustness.soak import warm

LISTS = {"osm-train-all.txt": range(5), "val.txt": [5, 6], "test.txt": [7, 8]}
_SMALL = ["accelerator=cpu", "batch_size=2", "num_workers=1"]
_EVALUATE = ["data_root=tiles", "checkpoint=runs/pre", "epochs=2", "lr=1e-3", *_SMALL]
_SCENE = ["raster=raw/city.tif", "osm=raw/osm.gpkg", *_SMALL]
_OWN = (".stdout", ".stderr")


@dataclass(frozen=True)
class Job:
    """A command, run in a folder that has the workshop's inputs, and the folder of its outputs."""

    name: str
    command: list[str]
    out: str


def all_jobs() -> list[Job]:
    """Return the jobs; each reads what those before it made."""
    return [
        Job("prepare", ["prepare_dataset.py", "raster=raw/city.tif", "osm=raw/osm.gpkg",
                        "out=tiles", "city=sample", "keep_empty=true", "labels=raw/landuse.tif",
                        "population=raw/population.tif", "population_unit=per_km2",
                        "co2=raw/co2.tif", "co2_unit=per_km2", "workers=2"], "tiles"),
        Job("train", ["train_rose.py", "data_path=tiles", "save_root_dir=runs", "save_dir=pre",
                      "image_encoder=test_vit", "total_epoch=3", "save_every=1", "log_every=1",
                      *_SMALL], "runs/pre"),
        Job("segmentation", ["evaluate_seg_fusion.py", "save_path=runs/seg", *_EVALUATE],
            "runs/seg"),
        Job("regression", ["evaluate_pop_fusion.py", "save_path=runs/pop", *_EVALUATE],
            "runs/pop"),
        Job("map", ["predict_scene.py", "checkpoint=runs/seg", "out=map", "overlap=0.5", *_SCENE],
            "map"),
        Job("features", ["extract_features.py", "checkpoint=runs/pre", "out=features", *_SCENE],
            "features"),
    ]


class Workshop:
    """A folder in which every job was done once, undisturbed.

    Attributes:
        seconds: name of a job -> how long it took.
        results: name of a job -> its comparable outputs.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.seconds: dict[str, float] = {}
        self.results: dict[str, dict[str, str]] = {}
        done = warm.run(["-m", "datasets.sample_city", "out=raw", "tiles=3"], folder, 300)
        assert done.code == 0, done.error
        for job in all_jobs():
            done = warm.run(job.command, folder, 600)
            assert done.code == 0, f"{job.name}: {done.error}"
            self.seconds[job.name] = done.seconds
            if job.name == "prepare":
                write_lists(folder / "tiles")
        for job in all_jobs():
            first = outputs(folder / job.out)
            with_inputs(self.folder, folder / ".twice" / job.name, job)
            twice = warm.run(job.command, folder / ".twice" / job.name, 600)
            assert twice.code == 0, f"{job.name}: {twice.error}"
            if job.name == "prepare":
                write_lists(folder / ".twice" / job.name / "tiles")
            second = outputs(folder / ".twice" / job.name / job.out)
            # what two undisturbed runs have in common: times differ, pictures of times, too
            self.results[job.name] = {name: digest for name, digest in first.items()
                                      if second.get(name) == digest}
            other = sorted(name for name in first | second
                           if first.get(name) != second.get(name))
            print(f"{job.name}: {self.seconds[job.name]:.1f} s, {len(self.results[job.name])} "
                  f"files compared; different in each run: {', '.join(other) or 'none'}",
                  flush=True)


def with_inputs(workshop: Path, folder: Path, job: Job) -> Path:
    """Make a folder that has links to the workshop's inputs of a job, and none of its outputs."""
    folder.mkdir(parents=True)
    for name in ("raw", "tiles", "map", "features"):
        if job.out != name and (workshop / name).exists():
            (folder / name).symlink_to(workshop / name)
    (folder / "runs").mkdir()
    for run in ("pre", "seg", "pop"):
        if job.out != f"runs/{run}" and (workshop / "runs" / run).exists():
            (folder / "runs" / run).symlink_to(workshop / "runs" / run)
    return folder


def write_lists(root: Path) -> None:
    """Deal the nine tiles to lists."""
    names = (root / "cities" / "sample" / "names.txt").read_text().split()
    for file, indices in LISTS.items():
        (root / file).write_text("".join(f"{names[index]}.png\n" for index in indices))


def outputs(folder: Path) -> dict[str, str]:
    """Return the digest of every file in a folder by its path; of a checkpoint NAME.tar, that of
    its tensors, as its record of sizes and times differs from run to run."""
    return {path.relative_to(folder).as_posix(): _digest(path)
            for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in _OWN}


def _digest(path: Path) -> str:
    if path.suffix == ".tar" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            return str([(entry.filename.split("/")[-1], entry.CRC) for entry in file.infolist()
                        if "/data/" in entry.filename])
    return hashlib.sha256(path.read_bytes()).hexdigest()
