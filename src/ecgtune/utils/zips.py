"""Zip archives whose table of contents is bounded before it is read, and each of whose names occurs once."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

MOST_TABLE_BYTES = 4 << 20  # some 50,000 members; each takes about ten times the memory of its entry


class _Bounded(io.FileIO):
    """A file from which at most `MOST_TABLE_BYTES` are read at once while the table of contents is read."""

    table = True

    def read(self, size: int | None = -1, /) -> bytes:
        if self.table and size is not None and size > MOST_TABLE_BYTES:
            raise zipfile.BadZipFile(f"a table of contents of {size} bytes; at most {MOST_TABLE_BYTES} are read")
        return super().read(-1 if size is None else size)


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open an archive for reading. Raises OSError or BadZipFile."""
    file = _Bounded(path)
    try:
        archive = zipfile.ZipFile(file)
        names = archive.namelist()
        if len(set(names)) < len(names):
            raise zipfile.BadZipFile("a name occurs twice")
    except BaseException:
        file.close()
        raise
    file.table = False
    return archive
