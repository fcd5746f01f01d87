"""Kill each job at random moments, continue with the same command, and compare the results."""

import random
import shutil
import time
from collections import Counter
from pathlib import Path

from tests.robustness.soak import warm
from tests.robustness.soak.jobs import Job, Workshop, all_jobs, outputs, with_inputs, write_lists

WHOM = ("main", "group", "worker")
_ATTEMPTS = 3


def kill_all(workshop: Workshop, folder: Path, count: int, seed: int) -> Counter:
    """Kill `count` runs, dealt to the jobs and to whom is killed; return the counts of faults."""
    faults: Counter = Counter()
    jobs = all_jobs()
    for number in range(count):
        job, whom = jobs[number % len(jobs)], WHOM[number // len(jobs) % len(WHOM)]
        draw = random.Random(f"{seed} {number}")
        place = with_inputs(workshop.folder, folder / f"kill-{number}", job)
        moment = draw.uniform(0, workshop.seconds[job.name])
        fault = _kill_and_continue(workshop, job, place, whom, moment, draw)
        faults["kills"] += 1
        if fault:
            faults[fault.split(":")[0]] += 1
            print(f"kill {number}: {job.name}, {whom} after {moment:.2f} s: {fault}", flush=True)
        else:
            shutil.rmtree(place)
    return faults


def _kill_and_continue(workshop: Workshop, job: Job, place: Path, whom: str, moment: float,
                       draw: random.Random) -> str | None:
    """Return what is wrong; None if the results are those of an undisturbed run."""
    patience = 60 + 10 * workshop.seconds[job.name]
    running = warm.Running(job.command, place)
    while time.monotonic() - running.started < moment and running.poll() is None:
        time.sleep(0.005)
    running.kill(whom, draw.choice)
    stopped = running.wait(patience)
    if stopped.code is None:
        return "hung: after the kill"
    if stopped.traceback and whom == "worker":  # orphans of a killed process may print anything
        return f"traceback: {stopped.error[-300:]}"
    for _ in range(_ATTEMPTS):
        done = warm.run(job.command, place, patience)
        if done.code == 0:
            break
        if done.code is None:
            return "hung: when continued"
    else:
        return f"lost: {done.error[-300:]}"
    if job.name == "prepare":
        write_lists(place / "tiles")
    now = outputs(place / job.out)
    unequal = [name for name, digest in workshop.results[job.name].items()
               if now.get(name) != digest]
    leftover = [name for name in now if Path(name).name.startswith(".writing-")]
    if unequal or leftover:
        return f"unequal: {', '.join(unequal + leftover)}"
    return None
