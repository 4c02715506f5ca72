"""Public databases of recordings, fetched with pooch and compared with the checksums that their home publishes.

A file gets its name when its SHA-256 is right, so an interrupted download leaves whole files only, and the same call
fetches the others.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast
from urllib.parse import quote

from ecgtune.errors import DataError, SettingError
from ecgtune.text import reason_of
from ecgtune.utils.files import file_mode, file_sha256, temporary_folder

HOME = "https://physionet.org/files/"
SUMS = "SHA256SUMS.txt"
ATTEMPTS = 3  # for one file
CONNECTIONS = 2  # as many as the wfdb library opens to PhysioNet


@dataclass(frozen=True)
class Database:
    """A database: `folder` at its home, with the version, and patterns of its files that are not fetched."""

    folder: str
    leave_out: tuple[str, ...]


#: Left out are archives of the same files, files that are no recordings (papers and programs of CinC 2017), and
#: recordings that are there twice: PTB-XL's at 100 Hz, CinC 2017's sample, the halves of MIT-BIH records.
DATABASES = {
    "ptb-xl": Database("ptb-xl/1.0.3", ("*.zip", "records100/*")),
    "cinc2017": Database("challenge-2017/1.0.0", ("*.zip", "*.tar.gz", "validation/*", "sources/*", "papers/*")),
    "mitdb": Database("mitdb/1.0.0", ("*.zip", "x_mitdb/*", "mitdbdir/*")),
}


@dataclass(frozen=True)
class Fetched:
    """Numbers of files that a call fetched, and that were complete already."""

    fetched: int
    kept: int


def get_database(
    name: str,
    out: Path,
    *,
    source: str | None = None,
    expect: Callable[[int], object] = lambda files: None,
    done: Callable[[int], object] = lambda files: None,
) -> Fetched:
    """Fetch the files of a database into the folder `out`, under the names that they have at home.

    source: URL of the folder that holds SHA256SUMS.txt, of a mirror. expect, done: called with the number of files, of
    all at the start and of each when it is complete. Raises SettingError for an unknown name or URL, and DataError when
    a file cannot be fetched in three attempts; complete files are kept.
    """
    if name not in DATABASES:
        raise SettingError(f"database {name!r} is unknown; allowed: {', '.join(DATABASES)}")
    home = (source or HOME + DATABASES[name].folder).rstrip("/")
    if not home.startswith(("http://", "https://")):
        raise SettingError(f"--from {home}: is no URL; give the http or https address of the folder with {SUMS}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror}); choose another place") from None
    left_out = DATABASES[name].leave_out
    sums = _checksums(home, out)
    wanted = {path: sums[path] for path in sums if not any(fnmatch.fnmatch(path, pattern) for pattern in left_out)}
    if not wanted:
        raise DataError(f"{home}: {SUMS} names no file of {name}; give the address of the database's own folder")
    expect(len(wanted))

    def fetch(path: str) -> bool:
        """Whether the file had to be fetched."""
        file = out / path
        if file.is_file() and file_sha256(file) == wanted[path]:
            return False
        _fetch(home, path, out, f"sha256:{wanted[path]}", mode)
        return True

    mode, fetched, pool = file_mode(), 0, ThreadPoolExecutor(CONNECTIONS)
    try:
        for future in as_completed([pool.submit(fetch, path) for path in wanted]):
            fetched += future.result()
            done(1)
    except DataError as error:
        raise DataError(f"{error}; rerun the same command to resume, complete files are kept") from None
    finally:
        pool.shutdown(cancel_futures=True)
    return Fetched(fetched, len(wanted) - fetched)


def _checksums(home: str, out: Path) -> dict[str, str]:
    """Path to SHA-256 of every file of the database. Raises DataError for a path that leads out of the folder."""
    with temporary_folder(out) as folder:  # pooch would keep a file without a checksum
        _fetch(home, SUMS, folder, None, file_mode())
        os.replace(folder / SUMS, out / SUMS)
    sums = {}
    for number, line in enumerate((out / SUMS).read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        match = re.fullmatch(r"([0-9a-fA-F]{64}) [ *](.+)", line)
        if match is None:
            raise DataError(f"{home}: line {number} of {SUMS} is {line[:40]!r}; a checksum and a path are needed")
        path = PurePosixPath(match[2])
        if path.is_absolute() or ".." in path.parts or "\\" in match[2] or ":" in match[2] or not path.parts:
            raise DataError(f"{home}: line {number} of {SUMS} names {match[2][:60]!r}, which leads out of the folder")
        sums[str(path)] = match[1].lower()
    return sums


def _fetch(home: str, path: str, out: Path, digest: str | None, mode: int) -> None:
    """Fetch one file of this permission mode. Raises DataError after the last attempt."""
    import pooch
    import requests

    def download(url: str, file: Any, _: object) -> None:
        pooch.HTTPDownloader(chunk_size=1 << 16)(url, file, None)
        os.chmod(file, mode)  # pooch's temporary files are readable by their owner alone

    pooch.get_logger().setLevel("ERROR")
    url = f"{home}/{quote(path)}"
    registry: Any = {path: digest}  # None is allowed, and not in pooch's annotation
    files = pooch.Pooch(out, base_url="", registry=registry, urls={path: url}, retry_if_failed=ATTEMPTS - 1)
    try:
        (out / path).parent.mkdir(parents=True, exist_ok=True)  # pooch fails where another thread makes it meanwhile
        files.fetch(path, downloader=cast(Any, download))
    except requests.HTTPError as error:
        if error.response is not None and error.response.status_code == requests.codes["not_found"]:
            raise DataError(f"{url}: is not there; check the address, or give a mirror with --from") from None
        raise _failed(url, error) from None
    except (ValueError, OSError) as error:  # of the checksum, the connection or the disk
        raise _failed(url, error) from None


def _failed(url: str, error: Exception) -> DataError:
    return DataError(f"{url}: could not be fetched in {ATTEMPTS} attempts ({reason_of(error)})")
