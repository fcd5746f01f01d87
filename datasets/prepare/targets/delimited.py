"""Tables as text: values separated by commas, semicolons or tabs, plain or compressed by gzip."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from datasets.prepare.geo.vector_io import NUMBER, TEXT, reason
from utils.errors import PrepareError
from utils.remedies import python_command

_TEXTS = (".csv", ".tsv", ".txt")
ENDINGS = (*_TEXTS, *(f"{ending}.gz" for ending in _TEXTS))
_SEPARATORS = ",;\t"
_OTHERS = {"|": "|", r"\s+": "spaces", ":": ":"}  # not read, for pandas -> in words
_HEAD = 1 << 18     # bytes in which kinds of columns are recognised
_BLOCK = 1 << 22    # bytes decoded at a time
_NUMBER = re.compile(r"[+-]?(?:\d[\d,. ']*|[.,]\d+)(?:[eE][+-]?\d+)?")
_LISTED = 60        # characters of a line in a message


def is_delimited(path: Path) -> bool:
    """Return whether a path ends as a table of text does."""
    return path.name.lower().endswith(ENDINGS)


def is_like_number(text: str) -> bool:
    """Return whether a text is a number, maybe with commas as some countries write it."""
    return _NUMBER.fullmatch(text.strip()) is not None


class DelimitedText:
    """A table of text with a line of names; UTF-8, with or without a byte order mark.

    Attributes:
        columns: name -> TEXT, or NUMBER where half of the first values or more are numbers.

    Raises:
        PrepareError: empty, no text, one column, no line of names, or a name that occurs twice.
    """

    def __init__(self, path: Path):
        self.path = path
        lines = self._lines()
        first = next((index for index, line in enumerate(lines) if line.strip()), None)
        if first is None:
            raise PrepareError(f"{path}: is empty, expected a line of names, such as "
                               "lon,lat,people, and a row for each point.")
        self._skipped, header = first + 1, lines[first]
        self._separator = max(_SEPARATORS, key=lambda mark: len(_split(header, mark)))
        self.names = [name.strip() for name in _split(header, self._separator)]
        if len(self.names) == 1:
            raise self._one_column(header)
        if all(is_like_number(name) for name in self.names):
            raise PrepareError(f"{path}: has no line of names: the first is {header[:_LISTED]!r}. "
                               "Write the names of its columns into a copy: "
                               f"`{self._named()}` (in the order of your file).")
        twice = sorted({name for name in self.names if name and self.names.count(name) > 1})
        if twice:
            raise PrepareError(f"{path}: has two columns called {twice[0]}, expected one of each "
                               "name. Rename one of them.")
        if not any(line.strip() for line in lines[self._skipped:]):
            raise PrepareError(f"{path}: has a line of names, but no rows, expected one for each "
                               "point or cell.")
        self.columns = self._kinds(lines[self._skipped:])

    def batches(self, names: list[str]) -> Iterator[list[pa.Array]]:
        """Yield columns as texts, some rows at a time; raise PrepareError if the file is damaged
        or a row has more or fewer columns than the first line."""
        odd = []
        labels = [str(index) for index in range(len(self.names))]
        included = [labels[self.names.index(name)] for name in names]

        def keep(row: pyarrow.csv.InvalidRow) -> str:
            odd.append(row)
            return "error"

        try:
            with self._opened() as stream, pyarrow.csv.open_csv(
                stream,
                pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK, column_names=labels,
                                        skip_rows=self._skipped),
                pyarrow.csv.ParseOptions(delimiter=self._separator, newlines_in_values=True,
                                         invalid_row_handler=keep),
                pyarrow.csv.ConvertOptions(
                    include_columns=included, column_types=dict.fromkeys(labels, pa.string()),
                    null_values=[], strings_can_be_null=False),
            ) as reader:
                for batch in reader:
                    yield [batch.column(label) for label in included]
        except (pa.ArrowException, OSError, EOFError) as error:
            if odd:
                raise self._odd_row(odd[0]) from error
            if "Empty CSV" in str(error):
                return
            raise PrepareError(f"{self.path}: cannot be read as a table of text ({reason(error)}),"
                               " expected UTF-8. Get the file again, or save it as CSV in UTF-8."
                               ) from error

    def program(self, method: str, suffix: str, reading: str = "") -> str:
        """Return the command that writes a copy, as `pandas_program` does.

        Args:
            reading: more arguments of pandas.read_csv.
        """
        return pandas_program(self.path, self.reader(reading), method, suffix)

    def reader(self, reading: str = "") -> str:
        """Return the call of pandas that reads the table."""
        separator = "" if self._separator == "," else f", sep={self._separator!r}"
        return f"read_csv({str(self.path)!r}{separator}{reading})"

    def _opened(self) -> pa.NativeFile:
        packed = self.path.suffix.lower() == ".gz"
        return pa.input_stream(str(self.path), compression="gzip" if packed else None)

    def _lines(self) -> list[str]:
        """Return the first lines, the last one whole or left out."""
        if not self.path.is_file():
            raise PrepareError(f"{self.path}: is not a file, expected a table of text.")
        try:
            with self._opened() as stream:
                head = stream.read(_HEAD)
        except (pa.ArrowException, OSError, EOFError) as error:
            raise PrepareError(f"{self.path}: cannot be read ({reason(error)}). Get the file "
                               "again.") from error
        if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
            again = pandas_program(
                self.path, f"read_csv({str(self.path)!r}, encoding='utf-16', sep=None, "
                "engine='python')", "f", "utf8")
            raise PrepareError(f"{self.path}: is text in UTF-16, expected UTF-8. Write it anew: "
                               f"`{again}`.")
        if b"\0" in head:
            raise PrepareError(f"{self.path}: is no table of text (it has zero bytes), expected "
                               "CSV in UTF-8. Give the file the ending of what it is, or save it "
                               "as CSV.")
        lines = head.removeprefix(b"\xef\xbb\xbf").decode(errors="replace").splitlines()
        return lines[:-1] if len(head) == _HEAD and len(lines) > 1 else lines

    def _kinds(self, lines: list[str]) -> dict[str, str]:
        values = {name: [] for name in self.names if name}
        for row in csv.reader(lines, delimiter=self._separator):
            for name, value in zip(self.names, row, strict=False):
                if name and value.strip():
                    values[name].append(is_like_number(value))
        return {name: NUMBER if like and sum(like) * 2 >= len(like) else TEXT
                for name, like in values.items()}

    def _one_column(self, header: str) -> PrepareError:
        fault = (f"{self.path}: its first line {header[:_LISTED]!r} is one column, expected a "
                 "place, such as lon and lat, and a value, separated by commas, semicolons or "
                 "tabs.")
        for pattern, words in _OTHERS.items():
            if len(re.split(re.escape(pattern) if len(pattern) == 1 else pattern,
                            header.strip())) > 1:
                again = pandas_program(
                    self.path, f"read_csv({str(self.path)!r}, sep={pattern!r})", "f", "commas")
                return PrepareError(f"{fault} If {words} separate them, write it anew: `{again}`.")
        return PrepareError(f"{fault} Export the table again with these columns.")

    def _named(self) -> str:
        names = ["lon", "lat", "value"] if len(self.names) == 3 else [
            f"name{index + 1}" for index in range(len(self.names))]
        return pandas_program(self.path, self.reader(f", header=None, names={names!r}"), "f",
                              "named")

    def _odd_row(self, row: pyarrow.csv.InvalidRow) -> PrepareError:
        number = "" if row.number is None else f" {row.number - self._skipped}"
        advice = ("Mend the row" if self._separator != "," else
                  "If its numbers have decimal commas, save it with semicolons between columns; "
                  "else mend the row")
        return PrepareError(f"{self.path}: row{number} has {row.actual_columns} columns, the line "
                            f"of names {row.expected_columns}: {row.text[:_LISTED]!r}. {advice}.")


def pandas_program(path: Path, reader: str, method: str, suffix: str) -> str:
    """Return the command that reads a table with pandas, as f, and writes an expression of it as
    CSV."""
    stem = re.sub(r"(?i)\.(csv|tsv|txt)$", "", path.stem)
    assigned = f"f = p.{reader}; " + ("f" if method == "f" else f"({method})")
    return python_command(f"import pandas as p; {assigned}.to_csv({f'{stem}_{suffix}.csv'!r}, "
                          "index=False)")


def _split(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator), [])
