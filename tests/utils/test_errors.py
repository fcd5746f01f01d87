"""What an error of a library or of the system says, in one line."""

from pathlib import Path

import pytest
from safetensors import safe_open

from utils.errors import message_of, one_line


def raised(action) -> Exception:
    with pytest.raises(Exception) as error:  # noqa: PT011
        action()
    return error.value


@pytest.mark.parametrize("read", [lambda path: path.read_text(),
                                  lambda path: safe_open(path, framework="numpy")])
def test_a_missing_file_is_said_in_the_words_of_all_messages(tmp_path, read):
    assert one_line(raised(lambda: read(tmp_path / "gone"))) == "no such file or folder"


def test_a_fault_of_the_system_has_no_number_and_names_its_file_once(tmp_path):
    error = raised(tmp_path.read_text)
    assert one_line(error) == "Is a directory"
    assert message_of(error) == f"{tmp_path}: Is a directory; give the path of a file"
    assert message_of(raised(Path("gone").read_text)) == (
        "gone: no such file or folder; see whether it was moved or removed, or give another path")


@pytest.mark.parametrize(("error", "line"), [
    (ValueError("\n  first\nsecond"), "first"), (OSError("no answer"), "no answer"),
    (FileNotFoundError("not in the cache"), "not in the cache"), (KeyError(), "KeyError"),
    (ValueError("x" * 999), "x" * 160)])
def test_other_errors_say_their_first_line(error, line):
    assert one_line(error) == line
