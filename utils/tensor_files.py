"""Files of torch.save: written whole, read without ever running code, checked byte by byte.

A file of torch.save is a zip archive with a CRC-32 of each entry, which torch.load does not look
at. Files older than torch 1.6 are no archives and have no checksum.
"""

import io
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

import torch
from torch import Tensor

from utils.contents import ContentFault, fault
from utils.errors import one_line
from utils.files import replacing

WEIGHT_TYPES = (torch.float32, torch.float16, torch.bfloat16)
_IN_MEMORY = 16 << 20  # bytes of a file that is read at once, which is faster for a tile's
_CHUNK = 1 << 20       # bytes
_ENTRY = struct.Struct("<4s22x2H")  # of an archive: magic, ..., lengths of the name and the rest
_IS_FOLDER = 0x10      # in the attributes of an entry
_TENSOR_DATA = re.compile(r"[^/]*/data/\d+")


class FileFault(Exception):
    """A file that cannot be read; the message says why, in one short line.

    Attributes:
        refused: True if the file is whole and holds pickled objects, False if it is damaged.
    """

    def __init__(self, message: str, refused: bool):
        super().__init__(message)
        self.refused = refused


def load_tensors(path: Path, mmap: bool = False) -> Any:
    """Return what torch.save wrote to `path`: tensors and plain containers, on the CPU.

    Args:
        mmap: leave the tensors of an archive on disk until they are used. Their bytes are then
            not compared with their checksums; everything else of the file is.

    Raises:
        FileFault: the file is damaged, or holds pickled objects.
    """
    archive = False
    try:
        if not path.stat().st_size:
            raise EOFError("empty file")
        with _opened(path) as file:
            if archive := _is_archive(file):
                _check_archive(file, tensors=not mmap)
            if archive and mmap:
                return torch.load(path, weights_only=True, map_location="cpu", mmap=True)
            file.seek(0)
            with warnings.catch_warnings():  # of the protocol of what is no such file
                warnings.simplefilter("ignore", UserWarning)
                return torch.load(file, weights_only=True, map_location="cpu")
    except Exception as error:  # the unpickler may raise anything on a damaged file
        no_weights = isinstance(error, UnpicklingError)
        if no_weights and (archive or _is_pickle(path)):
            raise FileFault("holds pickled Python objects, refused for safety since loading them "
                            "can run any code", refused=True) from error
        reason = "no file of torch.save" if no_weights else one_line(error)
        raise FileFault(f"cannot be read ({reason}); the file is truncated or damaged",
                        refused=False) from error


def save_tensors(path: Path, value: Any) -> None:
    """Write tensors and plain containers to `path`, whole or not at all.

    Raise OSError if it cannot be written.
    """
    with replacing(path, RuntimeError, OSError) as temporary:
        torch.save(value, temporary)


@dataclass(frozen=True)
class Dense:
    """A rule of utils/contents.py: a tensor whose numbers are all in the file.

    Args:
        dtypes: the types allowed; any if empty.
        finite: whether its numbers must be finite, too.
        shape: its shape; any if None.
    """

    dtypes: tuple[torch.dtype, ...] = ()
    finite: bool = False
    shape: tuple[int, ...] | None = None

    def check(self, value: Any, at: str) -> Tensor:
        if not isinstance(value, Tensor):
            raise fault(at, value, "a tensor")
        kind = f"a {_name(value.layout)} {_name(value.dtype)} tensor {list(value.shape)}"
        if value.layout is not torch.strided or value.is_meta or value.is_quantized:
            place = " without numbers" if value.is_meta else ""
            raise ContentFault(f"{at} is {kind}{place}, expected a dense tensor")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ContentFault(f"{at} is {kind} with the numbers of a smaller one, expected all")
        if self.dtypes and value.dtype not in self.dtypes:
            names = " or ".join(map(_name, self.dtypes))
            raise ContentFault(f"{at} is {kind}, expected one of {names}")
        if self.shape not in (None, value.shape):
            raise ContentFault(f"{at} is {kind}, expected {list(self.shape)}")
        if self.finite and not is_finite(value):
            raise ContentFault(f"{at} is not finite, expected finite weights, as an earlier "
                               "checkpoint may have")
        return value


@dataclass(frozen=True)
class Weights:
    """A rule of utils/contents.py: a network's weights by their names, all of them finite."""

    def check(self, value: Any, at: str) -> dict[str, Tensor]:
        if not isinstance(value, Mapping) or not value:
            raise fault(at, value, "a network's weights by their names")
        for name in value:
            if not isinstance(name, str):
                raise fault(f"a name in {at}", name, "a text")
        rule = Dense(WEIGHT_TYPES, finite=True)
        return {name: rule.check(tensor, f"the weight {name[:200]}")
                for name, tensor in value.items()}


def is_finite(value: Tensor) -> bool:
    """Whether no number of a tensor is infinite or nan."""
    # the sum is ten times as fast; that of large numbers may overflow
    return bool(value.sum().isfinite()) or bool(value.isfinite().all())


def _name(kind: torch.dtype | torch.layout) -> str:
    return "dense" if kind is torch.strided else str(kind).removeprefix("torch.")


def _opened(path: Path) -> BinaryIO:
    if path.stat().st_size <= _IN_MEMORY:
        return io.BytesIO(path.read_bytes())
    return path.open("rb")


def _is_archive(file: BinaryIO) -> bool:
    """Whether a file is an archive, or one whose beginning is damaged."""
    return file.read(2) == b"PK" or zipfile.is_zipfile(file)


def _check_archive(file: BinaryIO, tensors: bool) -> None:
    """Raise BadZipFile, or another error, if an entry is not what was written; without `tensors`
    the bytes of tensors are not looked at."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    for entry in entries:
        file.seek(entry.header_offset)
        magic, name_length, rest = _ENTRY.unpack(file.read(_ENTRY.size))
        name = file.read(name_length).decode("utf-8", "replace")
        # torch would leave the memory for a folder's bytes as it is
        folder = entry.external_attr & _IS_FOLDER
        if magic != b"PK\3\4" or name != entry.orig_filename or entry.compress_type or folder:
            raise zipfile.BadZipFile(f"entry {entry.orig_filename} is not as torch.save writes it")
        if tensors or not _TENSOR_DATA.fullmatch(name):
            file.seek(rest, io.SEEK_CUR)
            if _checksum(file, entry.compress_size) != entry.CRC:
                raise zipfile.BadZipFile(f"the checksum of {name} is wrong")


def _checksum(file: BinaryIO, size: int) -> int | None:
    """Return the CRC-32 of the next `size` bytes; None if the file ends before them."""
    value = 0
    while size:
        part = file.read(min(size, _CHUNK))
        if not part:
            return None
        value, size = zlib.crc32(part, value), size - len(part)
    return value


def _is_pickle(path: Path) -> bool:
    """Whether a file is a bare pickle, or older than the archives: its first byte says so."""
    with path.open("rb") as file:
        return file.read(1) == b"\x80"
