"""Give scripts damaged files, files of other kinds, well-formed files of wrong content, and wrong
values; each must be refused in one line, or give the results of the undamaged file."""

import io
import json
import random
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.robustness.soak import warm
from tests.robustness.soak.jobs import Job, Workshop, all_jobs, outputs, with_inputs

PATIENCE_S = 90
_JOBS = {job.name: job for job in all_jobs()}


@dataclass(frozen=True)
class Slot:
    """A file that a job reads.

    Args:
        path: in the job's folder.
        checked: its bytes carry a checksum, so a change is refused or changes nothing.
    """

    job: str
    path: str
    checked: bool = True


def slots(workshop: Workshop) -> list[Slot]:
    """Return every file that the jobs read."""
    tiles = [path.relative_to(workshop.folder).as_posix()
             for path in sorted((workshop.folder / "tiles").rglob("*")) if path.is_file()]
    unsure = ("meta.json", ".txt")  # text that people may edit
    read = [Slot("train", path, not path.endswith(unsure)) for path in tiles
            if not path.endswith((".txt", "land_use.bin", "pop.npy", "CO2.npy"))]
    read += [Slot("segmentation", path, not path.endswith(unsure)) for path in tiles
             if path.endswith((".txt", "land_use.bin", "land_use_starts.npy"))]
    read += [Slot("regression", path) for path in tiles if path.endswith("pop.npy")]
    runs = {"segmentation": ["runs/pre/model_3.tar", "runs/pre/model_3.safetensors"],
            "map": ["runs/seg/seed_0/best.safetensors"],
            "features": ["runs/pre/model_3.tar", "runs/pre/model_3.safetensors"]}
    read += [Slot(job, path) for job, paths in runs.items() for path in paths]
    read += [Slot(job, f"raw/{name}", checked=False) for job, names in {
        "prepare": ("city.tif", "osm.gpkg", "landuse.tif", "population.tif"),
        "map": ("city.tif", "osm.gpkg")}.items() for name in names]
    return [slot for slot in read if (workshop.folder / slot.path).is_file()]


def own_work(workshop: Workshop) -> list[Slot]:
    """Return the records of finished work, which the same command reads again."""
    texts = (".json", ".csv", ".yaml", ".txt", ".tar")
    return [Slot(job.name, path.relative_to(workshop.folder).as_posix(), checked=False)
            for job in all_jobs()
            for path in sorted((workshop.folder / job.out).rglob("*"))
            if path.is_file() and path.suffix in texts and job.name != "prepare"]


def damages(data: bytes, draw: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yield damaged forms of a file."""
    size = len(data)
    for share in (0, 0.1, 0.5, 0.9):
        yield f"cut to {share:.0%}", data[:int(size * share)]
    yield "one byte short", data[:-1]
    for _ in range(4):
        place = draw.randrange(size) if size else 0
        changed = bytearray(data)
        if size:
            changed[place] ^= 1 << draw.randrange(8)
        yield f"bit flipped at {place}", bytes(changed)
    place = draw.randrange(max(size - 200, 1))
    yield f"200 random bytes at {place}", (
        data[:place] + draw.randbytes(min(200, size)) + data[place + 200:])
    yield "zeros in the middle", data[:size // 3] + bytes(size // 3) + data[2 * size // 3:]
    yield "more at the end", data + b"more"


def other_kinds() -> dict[str, bytes]:
    """Return files of kinds that nothing expects."""
    archive, zipped = io.BytesIO(), io.BytesIO()
    np.savez(archive, a=np.zeros(3))
    with zipfile.ZipFile(zipped, "w") as file:
        file.writestr("a/data.pkl", b"\x80\x02}q\x00.")
    return {
        "npz": archive.getvalue(), "zip": zipped.getvalue(), "text": b"hello\n",
        "html": b"<!DOCTYPE html><html><body>504 Gateway Timeout</body></html>",
        "json list": b"[]", "json number": b"1e999", "json null": b"null",
        "deep json": b"[" * 100_000, "nul": bytes(1000), "0-d npy": _npy(np.float32(1)),
        "npy of objects": _npy(np.zeros(2)).replace(b"'<f8'", b"'|O' "),
        "png": b"\x89PNG\r\n\x1a\n" + bytes(60),
    }


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def wrong_json(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield JSON of the same form with one value of another kind."""
    content = json.loads(data)
    for path in _paths(content):
        for value in (None, [], {}, "x", -1, 1e300, [[[]]], True):
            yield f"{'.'.join(map(str, path))} = {value}", _replaced(content, path, value)
        yield f"{'.'.join(map(str, path))} removed", _replaced(content, path, ...)


def _paths(value: object, before: tuple = (), depth: int = 0) -> list[tuple]:
    if depth == 3 or not isinstance(value, dict | list) or not value:
        return []
    keys = list(value)[:40] if isinstance(value, dict) else [0]
    return [path for key in keys
            for path in [(*before, key), *_paths(value[key], (*before, key), depth + 1)]]


def _replaced(content: object, path: tuple, value: object) -> bytes:
    copy = json.loads(json.dumps(content))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return json.dumps(copy).encode()


def try_files(workshop: Workshop, folder: Path, count: int, seed: int) -> Counter:
    """Give damaged files to the jobs that read them, `count` of all cases drawn by `seed`."""
    cases = []
    draw = random.Random(seed)
    others = other_kinds()
    for slot in slots(workshop) + own_work(workshop):
        data = (workshop.folder / slot.path).read_bytes()
        cases += [(slot, *case) for case in damages(data, draw)]
        cases += [(slot, f"is {name}", content) for name, content in others.items()]
        if slot.path.endswith(".json"):
            wrong = list(wrong_json(data))
            cases += [(slot, *case) for case in draw.sample(wrong, min(40, len(wrong)))]
    draw.shuffle(cases)
    faults: Counter = Counter()
    for number, (slot, what, content) in enumerate(cases[:count]):
        fault = _try_file(workshop, folder / f"file-{number}", slot, content)
        faults["files"] += 1
        if fault:
            faults[fault.split(":")[0]] += 1
            print(f"file {number}: {slot.job}, {slot.path}, {what}: {fault}", flush=True)
    return faults


def place_with(workshop: Workshop, place: Path, slot: Slot, content: bytes) -> Job:
    """Make a folder for the job of a slot with other content there; return the job."""
    job = _JOBS[slot.job]
    with_inputs(workshop.folder, place, job)
    root = "/".join(Path(slot.path).parts[:2 if slot.path.startswith("runs/") else 1])
    if (place / root).is_symlink():
        (place / root).unlink()
    shutil.copytree(workshop.folder / root, place / root, dirs_exist_ok=True)
    (place / slot.path).write_bytes(content)
    return job


def _try_file(workshop: Workshop, place: Path, slot: Slot, content: bytes) -> str | None:
    """Return what is wrong; None if the file is refused in one line, or nothing depends on it."""
    job = place_with(workshop, place, slot, content)
    done = warm.run(job.command, place, PATIENCE_S)
    fault = judge(done)
    if fault is None and done.code == 0:
        now = outputs(place / job.out)
        unequal = [name for name, digest in workshop.results[slot.job].items()
                   if now.get(name) != digest and f"{job.out}/{name}" != slot.path]
        if unequal and slot.checked:
            fault = f"silent: {', '.join(unequal[:3])}"
        elif unequal:
            fault = f"differs: {', '.join(unequal[:3])} ({_notes(done)})"
    shutil.rmtree(place)
    return fault


def judge(done: warm.Outcome) -> str | None:
    if done.code is None:
        return "hung:"
    if done.traceback:
        return f"traceback: {done.error.strip().splitlines()[-1][:200]}"
    if done.code not in (0, 2):
        return f"crash: exit {done.code}"
    if done.code == 2 and (done.refusal is None or len(done.refusal) > 1000):
        return f"words: {done.error[-200:]}"
    return None


def _notes(done: warm.Outcome) -> str:
    notes = [line for line in (done.out + done.error).splitlines()
             if line.startswith(("note: ", "  left out", "  not made"))]
    return " | ".join(notes)[:200] or "no note"


def try_values(workshop: Workshop, folder: Path, count: int, seed: int) -> Counter:
    """Give keys wrong values, `count` of all (job, override) drawn by `seed`."""
    cases = list(wrong_values())
    random.Random(seed).shuffle(cases)
    faults: Counter = Counter()
    for number, (name, override) in enumerate(cases[:count]):
        job = _JOBS[name]
        place = with_inputs(workshop.folder, folder / f"value-{number}", job)
        done = warm.run([*job.command, override], place, PATIENCE_S)
        fault = judge(done)
        faults["values"] += 1
        if done.code == 0:
            faults["values accepted"] += 1
        if fault:
            faults[fault.split(":")[0]] += 1
            print(f"value {number}: {name}, {override[:80]!r}: {fault}", flush=True)
        shutil.rmtree(place)
    return faults


def wrong_values() -> Iterator[tuple[str, str]]:
    """Yield a job and an override that gives one of its keys a wrong or odd value."""
    from datasets.keys import PREPARE
    from evaluation.keys import REGRESSION, SEGMENTATION
    from inference.keys import EXTRACT, PREDICT
    from training.keys import TRAIN
    from utils.config import keys_of

    programs = {"prepare": PREPARE, "train": TRAIN, "segmentation": SEGMENTATION,
                "regression": REGRESSION, "map": PREDICT, "features": EXTRACT}
    own = {"out", "save_path", "save_root_dir", "save_dir", "help"}
    odd = ("", "x", "[]", "[[1]]", "{}", "{a: 1}", "-1", "0", "1e20", "1e308", "1e-320", "nan",
           "inf", "true", "2", "1.5", "null", "???", "${a}", "${oc.env:HOME}", "a\tb", "*",
           "'", "9" * 400)
    for name, program in programs.items():
        for key in keys_of(program.schema):
            if key not in own:
                for value in odd:
                    if (key, value) != ("compile", "true"):  # which is right, and takes minutes
                        yield name, f"{key}={value}"

