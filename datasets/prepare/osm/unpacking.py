"""Files packed by gzip, bzip2 or xz, as a stream of bounded length.

A file is unpacked by its first bytes, since servers and browsers unpack some on the way and leave
the name.
"""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path

from utils.errors import PrepareError

UNPACK_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError)
ENDINGS = (".gz", ".bz2", ".xz")
_OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_CHUNK = 1 << 20  # bytes
_MOST_RATIO = 300  # of unpacked to packed bytes; OpenStreetMap's XML reaches about 40
_ALWAYS = 1 << 28  # unpacked bytes that any file may have


def unpacked(path: Path) -> Iterator[bytes]:
    """Yield the content of a file, packed or not, a megabyte at a time.

    Raises:
        PrepareError: it unpacks to far more than data does.
        UNPACK_ERRORS: it is damaged or cut short.
    """
    with path.open("rb") as file:
        head = file.read(6)
    opener = next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), None)
    length, most = 0, max(_ALWAYS, _MOST_RATIO * path.stat().st_size)
    with (opener or open)(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            length += len(chunk)
            if opener and length > most:
                raise PrepareError(f"{path}: unpacks to more than {most >> 20:,} MiB, over "
                                   f"{_MOST_RATIO} times its size, as no map does. Get the file "
                                   "again from a source that you trust.")
            yield chunk
