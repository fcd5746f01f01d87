"""The one validator: what is of the right kind passes unchanged, all else is one line."""

import json

import pytest

from utils.contents import (
    MOST_BYTES,
    Anything,
    ContentFault,
    Either,
    Fields,
    Flag,
    Items,
    Null,
    Number,
    Table,
    Text,
    Whole,
    read_json,
)
from utils.errors import TileError

RULE = Fields(
    {"tiles": Whole(least=1, most=9), "share": Number(least=0, most=1), "names": Items(Text())},
    {"layout": Text(("compact", "release")), "shape": Items([Whole(), Whole()]),
     "sums": Table(Either((Null(), Number()))), "whole": Flag(), "note": Anything(),
     "title": Text(most=200, line=True)})
RIGHT = {"tiles": 3, "share": 0.5, "names": ["a", ""], "layout": "compact", "shape": [1, 2],
         "sums": {"pop": None, "CO2": 1}, "whole": True, "note": {"any": [1]}, "more": "kept",
         "title": "m³ of building \u200c"}

WRONG = {
    "not a dict": ([1], "the content is [1], expected a table of names and values"),
    "missing": ({"tiles": 3}, "share is missing, expected it"),
    "bool as number": (RIGHT | {"tiles": True}, "tiles is true, expected a whole number from 1 to"),
    "float as whole": (RIGHT | {"tiles": 2.0}, "tiles is 2.0, expected a whole number"),
    "too small": (RIGHT | {"tiles": 0}, "tiles is 0, expected a whole number from 1 to 9"),
    "beyond floats": (RIGHT | {"share": 10 ** 400}, "expected a finite number from 0 to 1"),
    "text as number": (RIGHT | {"share": "1"}, 'share is "1", expected a finite number'),
    "text as list": (RIGHT | {"names": "ab"}, 'names is "ab", expected a list'),
    "item": (RIGHT | {"names": ["a", 1]}, "names[1] is 1, expected a text"),
    "choice": (RIGHT | {"layout": "zip"}, 'layout is "zip", expected one of compact, release'),
    "length": (RIGHT | {"shape": [1]}, "shape is [1], expected a list of 2"),
    "in a table": (RIGHT | {"sums": {"pop": "x"}}, "sums.pop is \"x\", expected null or a finite"),
    "infinite": (RIGHT | {"share": -float("inf")}, "expected a finite number from 0 to 1"),
    "lines": (RIGHT | {"title": "a\nb"}, "expected a line of text without control characters"),
    "escape": (RIGHT | {"title": "\x1b]0;b"}, "x1b]0;b\", expected a line of text without"),
    "C1 escape": (RIGHT | {"title": "\x9b2J"}, "x9b2J\", expected a line of text without"),
    "long title": (RIGHT | {"title": "a" * 201}, "expected a text of 200 characters or fewer"),
    "flag": (RIGHT | {"whole": 1}, "whole is 1, expected true or false"),
    "long": (RIGHT | {"tiles": "9" * 500}, f'tiles is "{"9" * 59}..., expected'),
}


def write(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def test_what_is_right_is_returned_unchanged(tmp_path):
    assert read_json(write(tmp_path / "a.json", RIGHT), RULE, "remedy", TileError) == RIGHT


@pytest.mark.parametrize(("value", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_one_line(tmp_path, value, message):
    with pytest.raises(TileError) as caught:
        read_json(write(tmp_path / "a.json", value), RULE, "make it again", TileError)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'a.json'}: ")
    assert text.endswith("; make it again")
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize("content", [
    b"", b"{", b"\xff\xfe", b"[" * 100_000, b"NaN", b'{"tiles": ' + b"1" * 5000 + b"}", b"nul"])
def test_what_is_no_json_is_one_line(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(TileError, match=r"a\.json: the content is .*expected .*; remedy$"):
        read_json(path, RULE, "remedy", TileError)


def test_a_file_that_is_missing_or_too_large_is_one_line(tmp_path):
    with pytest.raises(TileError, match=r"a\.json: cannot be read \(no such file or folder\)"):
        read_json(tmp_path / "a.json", RULE, "remedy", TileError)
    with (tmp_path / "b.json").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(TileError, match=f"has {MOST_BYTES + 1} bytes"):
        read_json(tmp_path / "b.json", RULE, "remedy", TileError)


def test_a_fault_of_either_rule_names_both():
    with pytest.raises(ContentFault, match=r"at is 1\.5, expected null or a whole number$"):
        Either((Null(), Whole())).check(1.5, "at")
