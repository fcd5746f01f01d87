"""What is said of work whose progress cannot be counted."""

import time

import pytest

from utils import progress


@pytest.mark.parametrize(("seconds", "shown"), [(0, ""), (0.3, "opening a city ...\n")])
def test_only_slow_work_is_announced(monkeypatch, capsys, seconds, shown):
    monkeypatch.setattr(progress, "_DELAY_S", 0.1)
    with progress.say_if_slow("opening a city"):
        time.sleep(seconds)
    time.sleep(0.2)
    assert capsys.readouterr().out == shown
