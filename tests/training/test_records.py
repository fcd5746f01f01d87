"""The record: true means, the release's format, and a way back to any position."""

import pytest

from training.records import Recorder, last_epoch_losses, read_metrics


def recorder(folder, **changes) -> Recorder:
    values = {"total_epoch": 2, "steps_per_epoch": 5, "log_every": 2, "total_steps": 10,
              "samples_per_step": 4, "enabled": True}
    return Recorder(folder, **{**values, **changes})


def write(record: Recorder, first: int, last: int) -> None:
    """Steps first..last of the run, with losses (k, 10 k) in step k."""
    for k in range(first, last + 1):
        record.step((k - 1) // 5 + 1, (k - 1) % 5 + 1, k, [float(k), 10.0 * k], {"lr": 0.1})


def test_lines_are_true_means_also_the_first_and_the_rest_of_an_epoch(tmp_path):
    record = recorder(tmp_path)
    record.start(0)
    write(record, 1, 10)
    record.close()
    assert [row["image_loss"] for row in read_metrics(tmp_path)] == [1.5, 3.5, 5.0, 6.5, 8.5, 10.0]
    lines = (tmp_path / "loss_record.txt").read_text().splitlines()
    assert lines[0] == "epoch [1/2]\t Step [2/5]\t Loss1: 1.500000\t Loss2: 15.000000"
    assert lines[2] == "epoch [1/2]\t Step [5/5]\t Loss1: 5.000000\t Loss2: 50.000000"
    assert record.first == [1.5, 15.0]
    assert record.latest == [10.0, 100.0]
    assert last_epoch_losses(read_metrics(tmp_path)) == {"image_loss": 8.0, "osm_loss": 80.0}


@pytest.mark.parametrize("stopped", [1, 3, 4, 5, 8])
def test_put_back_in_the_middle_of_a_line_it_leaves_the_same_lines(tmp_path, stopped):
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    whole, broken = recorder(tmp_path / "whole"), recorder(tmp_path / "broken")
    whole.start(0)
    write(whole, 1, 10)
    broken.start(0)
    write(broken, 1, stopped)
    state = broken.state_dict()
    write(broken, stopped + 1, 9)  # lost when the process is killed
    again = recorder(tmp_path / "broken")
    again.start(stopped, state, keep_files=True)
    write(again, stopped + 1, 10)
    for record in (whole, broken, again):
        record.close()
    texts = [(tmp_path / name / "loss_record.txt").read_text() for name in ("whole", "broken")]
    assert texts[0] == texts[1]
    assert (again.first, again.latest) == (whole.first, whole.latest)


def test_other_processes_write_nothing(tmp_path):
    record = recorder(tmp_path, enabled=False)
    record.start(0)
    write(record, 1, 10)
    record.close()
    assert not list(tmp_path.iterdir())


def test_the_time_of_a_run_is_said_once_by_its_first_steps(tmp_path, monkeypatch, capsys):
    clock = iter(range(0, 10_000, 4))  # seconds
    monkeypatch.setattr("training.records.time.perf_counter", lambda: next(clock) / 3)
    monkeypatch.setattr(Recorder, "_rate", lambda self: 0.0)
    record = recorder(tmp_path, total_steps=1000, steps_per_epoch=500, log_every=500)
    record.start(0)
    for k in range(1, 100):
        record.step(1, k, k, [1.0, 1.0], {"lr": 0.1})
    record.close()
    said = [line for line in capsys.readouterr().out.splitlines() if line]
    assert said == ["3 tiles a second: about 22 minutes for the 987 steps left"]


def test_a_short_run_says_no_time(tmp_path, monkeypatch, capsys):
    clock = iter(range(0, 10_000, 4))
    monkeypatch.setattr("training.records.time.perf_counter", lambda: next(clock))
    monkeypatch.setattr(Recorder, "_rate", lambda self: 0.0)
    record = recorder(tmp_path)
    record.start(0)
    write(record, 1, 10)
    record.close()
    assert not capsys.readouterr().out.strip()
