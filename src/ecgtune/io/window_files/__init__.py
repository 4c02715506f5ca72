"""One reader per file type; a new type is a module here and a line in `READERS`."""

from pathlib import Path

from ecgtune.errors import DataError
from ecgtune.io.window_files.base import Block, Columns, Header, Reader
from ecgtune.io.window_files.csv import open_csv
from ecgtune.io.window_files.npz import open_npz

__all__ = ["READERS", "Block", "Columns", "Header", "Reader", "reader_for"]

CSV = Reader("CSV", (".csv", ".csv.gz", ".txt"), open_csv)
NPZ = Reader("NPZ", (".npz",), open_npz)
READERS = (CSV, NPZ)


def reader_for(path: Path) -> Reader:
    """The reader for a file, by its content where that is unmistakable (a zip archive), else by its suffix.

    Raises DataError when the path is missing, a folder, empty or of no known type.
    """
    allowed = ", ".join(suffix for reader in READERS for suffix in reader.suffixes)
    if not path.exists():
        raise DataError(f"{path}: no such file; give the path of a file of ECG windows ({allowed})")
    if not path.is_file():
        raise DataError(f"{path}: is a folder, not a file; give the path of one file of ECG windows ({allowed})")
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the permissions of the file") from error
    if not start:
        raise DataError(f"{path}: the file is empty; rows of samples and a label are needed")
    if start.startswith(b"PK"):
        return NPZ
    for reader in READERS:
        if path.name.lower().endswith(reader.suffixes):
            return reader
    raise DataError(f"{path}: unknown file type '{path.suffix}'; allowed are {allowed}")
