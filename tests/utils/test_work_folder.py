"""Work that is whole or absent: whenever a run is killed, the next one leaves all of the new
results and nothing of the old ones."""

import errno
import json
from collections import namedtuple
from pathlib import Path

import pytest

from tests.random_tiles import contents
from tests.robustness.remedies import commands_in, follow
from utils import work_folder
from utils.errors import PrepareError
from utils.work_folder import WorkFolder

Usage = namedtuple("Usage", "total used free")
OLD = {"record.json": "old", "table": "old", "figures/a": "old", "city/x": "old", "theirs": "-"}
NEW = {"record.json": "new", "map": "new", "figures/b": "new", "city/y": "new"}
AFTER = {**NEW, "theirs": "-"}


class Killed(BaseException):
    """Ends a run as a kill does: nothing catches it."""


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def results(root: Path) -> dict[str, str]:
    return {name: text.decode() for name, text in contents(root).items()
            if not name.startswith(".")}


def make(out: Path, request: str = "new") -> WorkFolder:
    """Make NEW in `out` in place of OLD, unless a killed run had got as far as its moves."""
    work = WorkFolder(out, "working", "working")
    with work.held():
        if not work.finished.is_dir():
            work.begin({"request": request})
            write(work.empty(), NEW)
            work.install(["map", "figures/b", "city", "record.json"],
                         ["record.json", "table", "figures/a", "city"])
        work.clear()
    return work


@pytest.mark.parametrize("step", range(12))
def test_a_killed_run_is_completed(tmp_path, monkeypatch, step):
    """Killed before each rename in turn: 4 put away the old results, 4 move the new ones."""
    write(tmp_path, OLD)
    steps, rename, replace = [], Path.rename, Path.replace

    def killing(move):
        def counted(path, target):
            steps.append(path)
            if len(steps) == step + 1:
                raise Killed
            return move(path, target)
        return counted
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killing(rename))
        patched.setattr(Path, "replace", killing(replace))
        try:
            make(tmp_path)
        except Killed:
            shown = results(tmp_path)
            record = shown.get("record.json")
            assert record is None or shown == {"old": OLD, "new": AFTER}[record]
            assert len({name for name in shown if name.startswith("city/")}) <= 1
    make(tmp_path)
    assert results(tmp_path) == AFTER
    assert not list(tmp_path.glob(".*"))
    assert step < len(steps) or step == 11


def test_work_of_the_same_request_is_resumed_and_other_work_discarded(tmp_path):
    work = WorkFolder(tmp_path, "working", "working")
    with work.held():
        assert not work.begin({"request": 1})
        work.parts.mkdir()
        (work.parts / "0").write_text("a part")
    again = WorkFolder(tmp_path, "working", "working")
    with again.held():
        assert again.begin({"request": 1})
        assert (again.parts / "0").is_file()
        assert not again.begin({"request": 2})
    assert again.discarded
    assert not again.worth_keeping


def test_moves_that_an_earlier_version_left_undone_are_made_again(tmp_path):
    work = WorkFolder(tmp_path, "working", "working")
    work.begin({"request": 1})
    (work.folder / "moving").touch()
    assert not work.begin({"request": 1})


def test_what_a_run_killed_at_its_very_end_left_is_no_hindrance(tmp_path):
    write(tmp_path / ".finished-working", {"request.json": "{}"})
    work = WorkFolder(tmp_path, "working", "working")
    with work.held():
        write(work.empty(), NEW)
        work.install(["record.json"], [])
        work.clear()
    assert results(tmp_path) == {"record.json": "new"}
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("parts", [0, 1])
def test_an_error_leaves_work_only_where_a_part_is_finished(tmp_path, parts):
    out = tmp_path / "out"
    work = WorkFolder(out, "working", "working")

    def fail() -> None:
        with work.held():
            work.begin({})
            write(work.parts, {str(number): "" for number in range(parts)})
            raise PrepareError("bad")

    with pytest.raises(PrepareError, match="bad"):
        fail()
    assert out.exists() == bool(parts)


def test_two_runs_do_not_meet(tmp_path):
    other = WorkFolder(tmp_path, "working", "working", key="dst")
    with WorkFolder(tmp_path, "working", "working").held(), pytest.raises(
            PrepareError, match=r"another process .* is working, expected none; wait for it"
    ), other.held():
        pass
    with other.held():
        assert (tmp_path / ".lock-working").exists()
    assert not tmp_path.exists()


def test_a_kill_of_work_that_cannot_be_resumed_keeps_results_on_their_way(tmp_path, monkeypatch):
    work = WorkFolder(tmp_path, "working", "working")

    def killing(*_):
        raise Killed

    def run() -> None:
        with work.held(resumable=False):
            write(work.empty(), NEW)
            work.install(["record.json"], [])

    with monkeypatch.context() as patched:
        patched.setattr(work_folder, "_move_file", killing)
        with pytest.raises(Killed):
            run()
    assert (work.made / "record.json").is_file()
    with work.held(resumable=False):
        pass
    assert (tmp_path / "record.json").is_file()


ELSEWHERE = [{"moves": ["../theirs"], "replaced": []}, {"moves": [], "replaced": ["../theirs"]},
             {"moves": [], "replaced": ["/etc/passwd"]}, {"moves": ["a/../../theirs"],
                                                          "replaced": []},
             {"moves": [""], "replaced": []}, {"moves": ["a\0"], "replaced": []}, {"moves": "ab"},
             {"moves": [["a"]], "replaced": []}, [], None, "[" * 100_000]


@pytest.mark.parametrize("plan", ELSEWHERE, ids=range(len(ELSEWHERE)))
def test_a_plan_that_is_not_ours_moves_nothing_and_its_remedy_works(tmp_path, plan):
    out = tmp_path / "my out"
    write(tmp_path, {"theirs": "-", "my out/table": "old", "my out/.working/made/a": "new"})
    text = plan if isinstance(plan, str) else json.dumps(plan)
    (out / ".working/moves.json").write_text(text)
    with pytest.raises(PrepareError, match=r"moves\.json: .*expected") as raised:
        make(out)
    assert contents(tmp_path)["theirs"] == b"-"
    assert (out / "table").read_text() == "old"
    follow(*commands_in(str(raised.value)), tmp_path)
    make(out)
    assert results(out) == NEW


@pytest.mark.parametrize("link", [".working", ".working/made", ".working/parts/0",
                                  ".finished-working", ".lock-working", ".lock-working.holder"])
def test_a_link_among_the_files_of_the_work_is_refused(tmp_path, link):
    out, theirs = tmp_path / "my out", tmp_path / "theirs"
    write(tmp_path, {"theirs/x": "-"})
    (out / link).parent.mkdir(parents=True)
    (out / link).symlink_to(theirs / "x" if link.startswith(".lock") else theirs)
    with pytest.raises(PrepareError, match=f"{link}: is a link, expected") as raised:
        make(out)
    assert contents(theirs) == {"x": b"-"}
    follow(*commands_in(str(raised.value)), tmp_path)
    make(out)
    assert contents(theirs) == {"x": b"-"}


def test_results_do_not_follow_a_link_out_of_their_folder(tmp_path):
    write(tmp_path, {"theirs/a": "-"})
    (tmp_path / "out").mkdir()
    (tmp_path / "out/figures").symlink_to(tmp_path / "theirs")
    with pytest.raises(PrepareError, match="figures: is a link, expected a folder") as raised:
        make(tmp_path / "out")
    assert contents(tmp_path / "theirs") == {"a": b"-"}
    follow(*commands_in(str(raised.value)), tmp_path)
    make(tmp_path / "out")
    assert results(tmp_path / "out") == NEW


def test_a_damaged_request_is_that_of_other_work(tmp_path):
    work = WorkFolder(tmp_path, "working", "working")
    with work.held():
        work.begin({"request": 1})
        (work.folder / "request.json").write_bytes(b"\xff\xfe{")
        assert not work.begin({"request": 1})


def test_room_on_the_disk_is_checked_and_much_work_announced(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(0, 0, 5 * 10**9))
    work = WorkFolder(tmp_path, "working", "working")
    with pytest.raises(PrepareError, match=r"the disk has 5 GB free, but 3 maps need 6\.2 GB or "
                                           r"more; free space, choose another out=, or wait"):
        work.check_space(6.2e9, "3 maps", "wait")
    assert work.check_space(2e9, "3 maps", "wait") == [
        f"3 maps need 2 GB or more, and the disk of {tmp_path} has 5 GB free"]
    assert work.check_space(2e6, "3 maps", "wait") == []


def test_an_output_that_nobody_reads_is_no_full_disk(tmp_path):
    with pytest.raises(BrokenPipeError), WorkFolder(tmp_path, "working", "working").held():
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")
