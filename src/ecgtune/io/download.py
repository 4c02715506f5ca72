"""Public databases of recordings, fetched with wfdb and held against the checksums that their home publishes.

A file is fetched under another name and gets its own when its SHA-256 is right, so a folder that was interrupted holds
whole files only, and the same call goes on where it stopped.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from ecgtune.errors import DataError, SettingError

HOME = "https://physionet.org/files/"
SUMS = "SHA256SUMS.txt"
ATTEMPTS, PAUSE = 3, 2.0  # tries of one file, and seconds between them
CONNECTIONS = 2  # as many as wfdb itself allows itself at PhysioNet


@dataclass(frozen=True)
class Database:
    """A database at its home: `folder`, with its version, and which of its files are not fetched (glob patterns)."""

    folder: str
    leave_out: tuple[str, ...]


#: What is left out are archives of the same files, what is no recording (papers and programs of CinC 2017), and
#: recordings that stand there twice: PTB-XL's at 100 Hz, the part of CinC 2017 that was given out as a sample, the
#: halves of MIT-BIH records.
DATABASES = {
    "ptb-xl": Database("ptb-xl/1.0.3", ("*.zip", "records100/*")),
    "cinc2017": Database("challenge-2017/1.0.0", ("*.zip", "*.tar.gz", "validation/*", "sources/*", "papers/*")),
    "mitdb": Database("mitdb/1.0.0", ("*.zip", "x_mitdb/*", "mitdbdir/*")),
}


@dataclass(frozen=True)
class Fetched:
    """What a call did: files that were `fetched`, and that were there already and right, `kept`."""

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

    source: URL of the folder that holds SHA256SUMS.txt, of a mirror. expect, done: are told the number of files, all at
    the start and each as it is there. Raises SettingError for an unknown name or URL, and DataError when the server
    does not give a file, or not the right one, three times; what is there by then stays.
    """
    if name not in DATABASES:
        raise SettingError(f"database {name!r} is unknown; allowed: {', '.join(DATABASES)}")
    database = DATABASES[name]
    home = source or HOME + database.folder
    if not home.startswith(("http://", "https://")):
        raise SettingError(f"--from {home}: is no URL; give the http or https address of the folder with {SUMS}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror}); choose another place") from None
    sums = _checksums(home, out)
    wanted = {path: digest for path, digest in sums.items() if not _left_out(path, database.leave_out)}
    if not wanted:
        raise DataError(f"{home}: {SUMS} names no file of {name}; give the address of the database's own folder")
    expect(len(wanted))

    missing = []
    for path, digest in wanted.items():
        if _sha256(out / path) == digest:
            done(1)
        else:
            missing.append(path)
    pool = ThreadPoolExecutor(CONNECTIONS)
    try:
        for future in as_completed([pool.submit(_fetch, home, path, out, wanted[path]) for path in missing]):
            future.result()
            done(1)
    except DataError as error:
        raise DataError(f"{error}; run the same command again to go on, files that are there are kept") from None
    finally:
        pool.shutdown(cancel_futures=True)
    return Fetched(len(missing), len(wanted) - len(missing))


def _left_out(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(path, pattern) for pattern in patterns)


def _checksums(home: str, out: Path) -> dict[str, str]:
    """Path to SHA-256 of every file of the database. Raises DataError for a path that leads out of the folder."""
    _fetch(home, SUMS, out, None)
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


def _fetch(home: str, path: str, out: Path, digest: str | None) -> None:
    """Fetch one file; with a digest it must have it. Raises DataError after the last attempt."""
    from wfdb.io.download import dl_full_file

    place = out / path
    partial = place.with_name(f".{place.name}.partial")
    url = f"{home.rstrip('/')}/{quote(path)}"
    reason = ""
    try:
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(PAUSE)
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                dl_full_file(url, str(partial))
            except FileNotFoundError:
                raise DataError(f"{url}: is not there; check the address, or give a mirror with --from") from None
            except OSError as error:  # of the connection or of the disk
                reason = " ".join(str(error).split())[:120]
                continue
            got = _sha256(partial)
            if digest is None or got == digest:
                os.replace(partial, place)
                return
            reason = f"its SHA-256 is {str(got)[:12]}..., but {SUMS} says {digest[:12]}..."
        raise DataError(f"{url}: could not be fetched in {ATTEMPTS} attempts ({reason})")
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _sha256(path: Path) -> str | None:
    """Of a file's bytes; None when it is not there."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
