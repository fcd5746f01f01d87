"""Times take turns and peaks of memory are those of processes of their own."""

import pytest

from benchmarks import measure
from benchmarks.measure import Case, Settings

CALLS: list[str] = []


def test_memory_is_that_of_a_process_of_its_own():
    held = bytearray(b"x" * (300 * 2**20))  # the parent's memory is not the child's
    small, large = (measure.peak_memory(build, 1) for build in (hold_little, hold_much))
    assert len(held) > 0
    assert 200 < large - small < 300


def hold_little() -> measure.Step:
    return lambda: bytearray(2**10)


def hold_much() -> measure.Step:
    return lambda: bytearray(b"x" * (125 * 2**20))  # two copies at a time


def test_steps_take_turns_and_units_are_of_the_same_repeat(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(clock) ** 2)
    cases = [Case(name, lambda name=name: lambda: CALLS.append(name), ("one",))
             for name in ("one", "two")]
    table = measure.compare(cases, ["of one"],
                            Settings("", 1, repeats=3, threads=1, nodes=(), memory=False))
    assert CALLS == ["one", "two"] * 4
    # in repeat r one lasts 8 r - 3 ticks of this clock, two 8 r + 1
    assert [cell.strip() for cell in table.splitlines()[-1].split("|")][1:5] == ["two", "17",
                                                                                 f"{17 / 13:.2f}",
                                                                                 "1.19 to 1.80"]


@pytest.fixture(autouse=True)
def _no_calls():
    CALLS.clear()
