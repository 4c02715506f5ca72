"""Checks of the sqlite file of a sweep: of its structure before optuna opens it, and of the trials that optuna reads.

A table can be a query without an end, and a journal can name a file that sqlite deletes. Of damaged rows optuna raises
errors of many types.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

from ecgtune.config.space import Choice, Range
from ecgtune.errors import EcgtuneError, RunError
from ecgtune.recipes.space import Space
from ecgtune.text import shown_name
from ecgtune.utils.files import small_bytes, unwritable
from ecgtune.utils.schema import Count, Fraction, check_schema
from ecgtune.utils.stored import unreadable

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial

INDEX = "index"
REMEDY = "remove it to start again, or choose another --out"
#: Of a file or its journal (a trial takes 2 to 4 kB), of a text in it, and rows of one trial in one table.
MOST_BYTES, MOST_TEXT, MOST_ROWS = 64 << 20, 1 << 16, 100
#: Trials of killed processes.
MOST_FAILED = 10_000
#: Seconds of the processor for what takes milliseconds.
MOST_SECONDS = 1.0
#: Tables that optuna makes and a sweep does not use.
_EMPTY = ("study_user_attributes", "study_system_attributes", "trial_intermediate_values", "trial_heartbeats")
_OF_TRIALS = ("trial_params", "trial_values", "trial_user_attributes", "trial_system_attributes")
#: Codes of sqlite for a file that this user may not open or change.
_FORBIDDEN = (sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH)
#: Finds studies in which trials have no numbers, or not those from 0.
_UNNUMBERED = (
    "SELECT 1 FROM trials GROUP BY study_id HAVING count(DISTINCT number) < count(*) OR min(number) != 0"
    " OR max(number) != count(*) - 1 OR max(typeof(number)) != 'integer'"
)
#: The end of a journal that names a journal of several databases.
_SEVERAL = bytes.fromhex("d9d505f920a163d7")
#: Float64 rounding of a bound on a logarithmic scale.
_ROUNDING = 1e-9


class Finished(TypedDict):
    """Attributes of a trial that finished."""

    index: Count
    state: Literal["finished"]
    val_auroc: Fraction
    val_accuracy: Fraction
    best_epoch: Annotated[int, 1, 1 << 53]
    epochs: Annotated[int, 1, 1 << 53]
    seconds: Annotated[float, 0, 1e15]
    trainable: Count


class Diverged(TypedDict):
    """Those of a trial that diverged."""

    index: Count
    state: Literal["diverged"]
    val_auroc: None
    val_accuracy: None
    best_epoch: None
    epochs: None
    seconds: None
    trainable: Count


def damaged(file: Path, reason: str) -> RunError:
    """Return the error for a file of a sweep that is not as ecgtune writes it."""
    return RunError(f"{file}: {reason}; {REMEDY}")


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Raise RunError for every error of reading a file, with a remedy that keeps a file that may be whole."""
    try:
        yield
    except EcgtuneError:
        raise
    except Exception as error:
        raise storage_error(file, error) from None


def storage_error(file: Path, error: Exception) -> EcgtuneError:
    """Return the error for a database that cannot be read or written, by the code of sqlite where it has one."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, sqlite3.Error):
        cause = cause.__cause__ or cause.__context__
    of_sqlite = error if cause is None else cause
    line, code = str(of_sqlite).partition("\n")[0], getattr(of_sqlite, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):  # the second where fsync finds the disk full
        reason = os.strerror(errno.ENOSPC)
        reason = reason if code == sqlite3.SQLITE_FULL else f"{line}; perhaps: {reason}"
        return unwritable(file, OSError(errno.ENOSPC, reason))
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return RunError(f"{file} is used by another program ({line}); close that program and run this again")
    if isinstance(error, PermissionError) or code in _FORBIDDEN:
        return unreadable(file, of_sqlite, "allow this user to read and write it and its folder")
    return unreadable(file, of_sqlite, REMEDY)


def check_structure(file: Path, made: sqlite3.Connection, trials: int) -> None:
    """Raise RunError unless a file has only tables of `made`, a new database of optuna, whole and of bounded rows.

    It may lack some, as a kill during its creation leaves the first ones; missing indices are added. A journal of a
    killed process is applied.
    trials: of all methods, without failed ones.
    """
    with reading(file):
        file = file.resolve()  # as sqlite does, which writes its journal there
        exists = _content(file) is not None
    journal, *others = (file.with_name(f"{file.name}-{kind}") for kind in ("journal", "wal", "shm"))
    with reading(journal):
        if journal.is_symlink() or (_content(journal) or b"").endswith(_SEVERAL):
            raise ValueError("it names another file, which sqlite would change")
    for path in others:
        if os.path.lexists(path):
            raise damaged(path, "a sweep has no such file")
    if exists:
        with reading(file), closing(sqlite3.connect(file)) as database:
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_TEXT)
            _check(database, made, trials)


def _content(path: Path) -> bytes | None:
    try:
        return small_bytes(path, MOST_BYTES)
    except FileNotFoundError:
        return None


def _check(database: sqlite3.Connection, made: sqlite3.Connection, trials: int) -> None:
    end = time.thread_time() + MOST_SECONDS  # of reading the definitions: pages of a damaged file can form loops
    database.set_progress_handler(lambda: time.thread_time() > end, 10_000)
    if database.execute("PRAGMA journal_mode").fetchone() != ("delete",):
        raise ValueError("it has a write-ahead log")
    pages, size = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    if pages * size > MOST_BYTES:
        raise ValueError(f"over {MOST_BYTES} bytes")
    found = _definitions(database)
    if not found <= _definitions(made):
        raise ValueError("its tables are not those that optuna makes")
    database.set_progress_handler(None, 0)
    problem = database.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if problem != "ok":
        raise ValueError(problem)
    if database.execute("PRAGMA foreign_key_check").fetchone():
        raise ValueError("it has rows of a study or trial that is missing")
    tables = {name for kind, name, _ in found if kind == "table"}
    counts = Counter({name: sum(1 for _ in database.execute(f"SELECT * FROM {name}")) for name in tables})  # all texts
    if any(counts[name] for name in _EMPTY):
        raise ValueError("it has rows that a sweep does not write")
    if counts["trials"] > trials + MOST_FAILED:
        raise ValueError("it has too many trials")
    if any(counts[name] > MOST_ROWS * counts["trials"] for name in _OF_TRIALS):
        raise ValueError("it has too many rows of a trial")
    if "version_info" in tables:
        version = "SELECT schema_version FROM version_info"
        if not set(database.execute(version)) <= set(made.execute(version)):
            raise ValueError("it is of another version of optuna")
    if "trials" in tables and database.execute(_UNNUMBERED).fetchone():
        raise ValueError("the trials of a method are not numbered from 0")
    for table, text in made.execute("SELECT tbl_name, sql FROM sqlite_master WHERE type = 'index' AND sql NOT NULL"):
        if table in tables:  # optuna makes an index with its table alone; without it, studies are made twice
            database.execute(text.replace("INDEX", "INDEX IF NOT EXISTS", 1))


def _definitions(database: sqlite3.Connection) -> set[tuple[str, str, str]]:
    rows = database.execute("SELECT type, name, sql FROM sqlite_master")
    return {(kind, name, " ".join((sql or "").split())) for kind, name, sql in rows}


def check_study(file: Path, study: Study, space: Space, own: Mapping[str, Any] | None, trials: int) -> None:
    """Raise RunError unless each trial of a study is one of a sweep of this space, with `trials` trials.

    own: values of the recipe, which a trial that waits has; None if they are unknown.
    """
    from optuna.distributions import distribution_to_json
    from optuna.study import StudyDirection
    from optuna.trial import TrialState

    name, stored = shown_name(study.study_name), study.get_trials(deepcopy=False)
    if study.directions != [StudyDirection.MAXIMIZE]:
        raise damaged(file, f"the direction of {name} is not the highest AUROC")
    spans = {setting: distribution_to_json(span) for setting, span in distributions(space).items()}
    bounds = {setting: _bounds(span) for setting, span in space.items()}
    indices = []
    for trial in stored:
        what = f"trial {trial.number} of {name}"
        found = {setting: distribution_to_json(span) for setting, span in trial.distributions.items()}
        counts = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        if not (found == spans if counts else found.items() <= spans.items()):
            raise damaged(file, f"{what} has other settings")
        for setting, value in trial.params.items():
            check_schema({setting: value}, dict[str, bounds[setting]], f"{file}, {what}", RunError, REMEDY)
        if trial.state == TrialState.WAITING and own is not None and not _is_queued(trial, own):
            raise damaged(file, f"{what} waits with other settings than those of the recipe")
        if counts:
            _check_result(file, what, trial, Finished if trial.state == TrialState.COMPLETE else Diverged)
            indices.append(trial.user_attrs[INDEX])
    if len(set(indices)) < len(indices) or max(indices, default=0) >= trials:
        raise damaged(file, f"the indices of the trials of {name} are not different ones below {trials}")


def _bounds(span: Range | Choice) -> Any:
    """Return the schema of a value. Of a choice optuna stores the number, so the value is one of the choices."""
    if isinstance(span, Choice):
        return Any
    low, high = span.low, span.high
    if isinstance(low, int) and isinstance(high, int):
        return Annotated[int, low, high]
    low, high = low - _ROUNDING * abs(low), high + _ROUNDING * abs(high)
    return Annotated[float, low, high]


def _is_queued(trial: FrozenTrial, own: Mapping[str, Any]) -> bool:
    """Whether a trial is the one that `Studies.next` puts in the queue."""
    return (trial.params, trial.user_attrs, trial.system_attrs) == ({}, {}, {"fixed_params": own})


def _check_result(file: Path, what: str, trial: FrozenTrial, schema: type) -> None:
    attributes = trial.user_attrs
    check_schema(attributes, schema, f"{file}, {what}", RunError, REMEDY)
    if attributes.keys() != schema.__annotations__.keys() or trial.system_attrs.keys() - {"fixed_params"}:
        raise damaged(file, f"{what} has attributes that a sweep does not write")
    if trial.values != (None if schema is Diverged else [attributes["val_auroc"]]):
        raise damaged(file, f"the value of {what} is not its val_auroc")


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return a space as optuna takes it."""
    return {setting: _distribution(span) for setting, span in space.items()}


def _distribution(span: Range | Choice) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(span, Choice):
        return CategoricalDistribution(span.values)
    if isinstance(span.low, int) and isinstance(span.high, int):
        return IntDistribution(span.low, span.high, log=span.log)
    return FloatDistribution(span.low, span.high, log=span.log)
