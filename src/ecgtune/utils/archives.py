"""Archives read in bounded memory, whatever they claim to hold."""

from __future__ import annotations

import gzip
import io
import lzma
import zipfile
from pathlib import Path

from ecgtune.utils.files import open_file

_MOST_XZ_MEMORY = 256 << 20  # of the decompressor; xz -9 needs 65 MiB
_HARMLESS_BYTES = 64 << 20  # that any file may unpack to
_MOST_RATIO = 100  # beyond them; noise of an amplifier limits signals to about 10, zeros reach 1,000 to 7,000
_PIECE = 1 << 16  # bytes of a compressed file that are read at once
MOST_TABLE_BYTES = 4 << 20  # some 50,000 members; each takes about ten times the memory of its entry


class _Bounded(io.FileIO):
    """A file from which at most `MOST_TABLE_BYTES` are read at once while the table of contents is read."""

    table = True

    def read(self, size: int | None = -1, /) -> bytes:
        if self.table and size is not None and size > MOST_TABLE_BYTES:
            raise zipfile.BadZipFile(f"a table of contents of {size} bytes; at most {MOST_TABLE_BYTES} are read")
        return super().read(-1 if size is None else size)


class _Zip(zipfile.ZipFile):
    """An archive that closes the file it was given."""

    def __init__(self, file: _Bounded) -> None:
        self._given = file
        super().__init__(file)

    def close(self) -> None:
        super().close()
        self._given.close()


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open an archive, each of whose names occurs once, for reading. Raises OSError or BadZipFile."""
    open_file(path).close()  # refuses pipes and devices
    file = _Bounded(path)
    try:
        archive = _Zip(file)
        names = archive.namelist()
        if len(set(names)) < len(names):
            raise zipfile.BadZipFile("a name occurs twice")
    except BaseException:
        file.close()
        raise
    file.table = False
    return archive


def most_unpacked(packed: int) -> int:
    """Bytes that a file of `packed` bytes may unpack to; more are made to fill the memory or the disk."""
    return max(_HARMLESS_BYTES, _MOST_RATIO * packed)


def is_bomb(unpacked: int, packed: int) -> bool:
    """Whether so many bytes from so few are no measured signal."""
    return unpacked > most_unpacked(packed)


def checked_zip(content: bytes) -> bytes:
    """Return the content of a zip archive. Raises ValueError where a member is a bomb, BadZipFile for no archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for member in archive.infolist():
            if is_bomb(member.file_size, member.compress_size):
                raise ValueError(f"{member.filename} unpacks to {member.file_size} bytes, far more than it holds")
    return content


class GzipReader(gzip.GzipFile):
    """A gzip file; reading one that is a bomb raises BadGzipFile."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb")
        self._packed = path.stat().st_size
        with open_file(path) as file:
            file.seek(-4, 2)
            stated = int.from_bytes(file.read(4), "little")  # the length that the file states, modulo 2^32
        if is_bomb(stated, self._packed):
            self.close()
            raise gzip.BadGzipFile(f"it unpacks to over {_MOST_RATIO} times its size")

    def read(self, size: int | None = -1) -> bytes:
        limit = _HARMLESS_BYTES + _MOST_RATIO * self._packed
        return self._checked(super().read(limit if size is None or size < 0 else min(size, limit)))

    def read1(self, size: int = -1) -> bytes:
        return self._checked(super().read1(size))

    def readline(self, size: int | None = -1) -> bytes:
        limit = _HARMLESS_BYTES + _MOST_RATIO * self._packed
        return self._checked(super().readline(limit if size is None or size < 0 else size))

    def _checked(self, part: bytes) -> bytes:
        if is_bomb(self.tell(), self._packed):
            raise gzip.BadGzipFile(f"it unpacks to over {_MOST_RATIO} times its size")
        return part


class XzStream:
    """Unpacked bytes of an xz file from the start, a part at a time."""

    def __init__(self, path: Path) -> None:
        self._file = open_file(path)
        self._unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_XZ_MEMORY)

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes, fewer at the end. Raises LZMAError, or EOFError for a file that is cut off."""
        parts = []
        while count and not self._unpacker.eof:
            more = self._file.read(_PIECE) if self._unpacker.needs_input else b""
            if self._unpacker.needs_input and not more:
                raise EOFError("it ends early")
            parts.append(self._unpacker.decompress(more, max_length=count))
            count -= len(parts[-1])
        return b"".join(parts)

    def skip(self, count: int) -> None:
        """Leave `count` bytes out."""
        while count and (part := self.read(min(count, _PIECE))):
            count -= len(part)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
