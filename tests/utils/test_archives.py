"""Archives in bounded memory."""

import gzip
import lzma
import zipfile

import pytest

from ecgtune.utils.archives import GzipReader, XzStream, open_zip

CONTENT = bytes(range(256)) * 1000


def test_an_xz_file_is_read_in_parts(tmp_path):
    path = tmp_path / "a.xz"
    path.write_bytes(lzma.compress(CONTENT))
    stream = XzStream(path)
    assert stream.read(1000) == CONTENT[:1000]
    stream.skip(100_000)
    assert stream.read(10**9) == CONTENT[101_000:]
    assert stream.read(1) == b""
    stream.close()
    path.write_bytes(lzma.compress(CONTENT)[:-20])
    cut = XzStream(path)
    with pytest.raises(EOFError, match="ends early"):
        cut.read(10**9)
    cut.close()


def test_a_gzip_file_is_read_and_a_bomb_is_not(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(CONTENT))
    with GzipReader(path) as file:
        assert (file.read(10), file.readline(), file.read()) == (CONTENT[:10], CONTENT[10:11], CONTENT[11:])
    bomb = gzip.compress(bytes(80 << 20), 1)
    path.write_bytes(bomb)
    with pytest.raises(gzip.BadGzipFile, match="100 times its size"):
        GzipReader(path)
    path.write_bytes(bomb[:-4] + b"\1\0\0\0")  # states another length
    with GzipReader(path) as file, pytest.raises(gzip.BadGzipFile, match="100 times its size"):
        list(iter(lambda: file.read(1 << 20), b""))


def test_a_name_that_occurs_twice_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a", b"1")
    with open_zip(path) as archive:
        assert archive.read("a") == b"1"
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("a", b"2")
    with pytest.raises(zipfile.BadZipFile, match="twice"):
        open_zip(path)
