"""How a program ends: closed streams, readers that leave, signals, memory, removed folders."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from utils.cli.command import guarded
from utils.errors import RoseError, message_of, printable

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from utils.cli.command import guarded
from utils.files import replacing

def action():
    what = sys.argv[1]
    if what == "print":
        Path("done.txt").write_text("ä" if Path("kept.txt").open("w").write("kept") else "")
        print("ä🌹 lines\\n" * 20_000, flush=True)
        print("ä", file=sys.stderr, flush=True)
    if what == "pipe":
        raise BrokenPipeError(32, "Broken pipe")
    with replacing(Path("result.txt")) as temporary:
        temporary.write_text("half")
        print("ready", flush=True)
        time.sleep(60 if what == "wait" else 0)
guarded(action)
"""


@pytest.fixture
def program(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    return [sys.executable, str(tmp_path / "program.py")]


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-"])
def test_closed_streams_are_nowhere_and_no_file_gets_their_text(program, tmp_path, closed):
    done = subprocess.run(["bash", "-c", f'"$0" "$1" print {closed}', *program], cwd=tmp_path,
                          capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"" if "2>" in closed else "ä\n".encode())
    assert (tmp_path / "kept.txt").read_text() == "kept"
    assert (tmp_path / "result.txt").read_text() == "half"


def test_a_reader_that_has_enough_ends_the_program_quietly(program, tmp_path):
    done = subprocess.run(["bash", "-c", '"$0" "$1" print | head -1; exit ${PIPESTATUS[0]}',
                           *program], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (141, "ä🌹 lines\n", "")


def test_a_pipe_that_is_not_the_output_is_a_fault(program, tmp_path):
    done = subprocess.run([*program, "pipe"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, (
        "error: input or output: Broken pipe; a process that it worked with has ended; start the "
        "command again\n"))


@pytest.mark.parametrize(("place", "code"), [(">/dev/full", 2), ("2>/dev/full", 2)])
def test_output_that_cannot_be_written_is_one_line(program, tmp_path, place, code):
    done = subprocess.run(["bash", "-c", f'"$0" "$1" print {place}', *program], cwd=tmp_path,
                          capture_output=True, text=True)
    assert done.returncode == code
    assert done.stderr in ("", "error: input or output: No space left on device; free space, or "
                               "give another path\n")


def test_a_terminal_without_its_letters_gets_escapes(program, tmp_path):
    done = subprocess.run([*program, "print"], cwd=tmp_path, capture_output=True, text=True,
                          env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("\\xe4\\U0001f339 lines\n")


def test_a_removed_working_folder_is_one_line(program, tmp_path):
    (tmp_path / "gone").mkdir()
    done = subprocess.run(["bash", "-c", 'rmdir "$PWD"; "$0" "$1" print', *program],
                          cwd=tmp_path / "gone", capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "the working directory was removed" in done.stderr


@pytest.mark.parametrize(("number", "code", "line"), [
    (signal.SIGINT, 130, "interrupted; "), (signal.SIGTERM, 143, "ended by SIGTERM; "),
    (signal.SIGHUP, 129, "ended by SIGHUP; ")])
def test_a_signal_leaves_nothing_half_written(program, tmp_path, number, code, line):
    process = subprocess.Popen([*program, "wait"], cwd=tmp_path, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    if number != signal.SIGINT:  # once more, while it cleans up
        process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors.count("\n")) == (code, 1), errors
    assert errors.startswith(line)
    assert [path.name for path in tmp_path.iterdir()] == ["program.py"]


def test_ctrl_c_while_modules_are_loaded_is_one_line(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"import sys, time\nsys.path.insert(0, {str(ROOT)!r})\nimport utils.cli\n"
                      "print('loading', flush=True)\ntime.sleep(60)\n")
    process = subprocess.Popen([sys.executable, str(script)], text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    assert process.stdout.readline() == "loading\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert errors.startswith("interrupted; ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("error", [
    MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 3 GiB"),
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory")])
def test_exhausted_memory_is_one_line_with_the_key_to_lower(capsys, error):
    def action():
        raise error
    with pytest.raises(SystemExit) as stop:
        guarded(action)
    errors = capsys.readouterr().err
    assert (stop.value.code, errors.count("\n")) == (2, 1)
    assert errors.startswith("error: out of memory")
    assert "lower batch_size=" in errors


def test_a_fault_of_the_program_keeps_its_traceback():
    def action():
        raise RuntimeError("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        guarded(action)


def test_no_message_moves_the_cursor_or_has_two_lines():
    assert message_of(RoseError("a\x1b[31mb\rc\x00d: e")) == "a\\x1b[31mb c\\x00d: e"
    fault = OSError(errno.EIO, "no\x00such\nb", "/a\nb")
    assert message_of(fault).startswith("/a\\nb: no\\x00such; ")
    assert printable("a" * 200) == "a" * 100 + "..."
    assert printable("\udcff ä🌹") == "\\udcff ä🌹"
