"""Threads that wait for servers end with what they serve."""

import time

import pytest

from datasets.remote.threads import in_threads


def test_after_an_error_nothing_runs_on():
    begun, ended = set(), set()

    def work(item: int) -> None:
        if item == 1:
            raise ValueError("the first error")
        begun.add(item)
        time.sleep(0.2)
        ended.add(item)

    with pytest.raises(ValueError, match="the first error"):
        list(in_threads(work, range(100), 3))
    assert begun == ended
    assert len(begun) < 100
