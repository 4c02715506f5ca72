"""CSV: `signal_0 ... signal_599,label`, one window a row, one lead; plain or gzip.

The header is optional. With one, the label is the column that the caller names (or the several 0/1 columns), else
`label`, else the last column;
`patient` (or `record`) and `split` are known by name, and every other column is a sample. The file is cut into
pieces of whole lines, a few megabytes each, which several threads turn into float32 (`csv_rows`).
"""

import gzip
import os
import re
import zlib
from collections import Counter, deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO

from ecgtune.errors import DataError
from ecgtune.io.window_files.base import PATIENT_NAMES, RECORD_NAMES, Block, Columns, Header, group_name
from ecgtune.io.window_files.csv_rows import NUMBER, SPECIAL, Layout, Piece, cells_of, parse_piece
from ecgtune.utils.text import shown

_PIECE_BYTES = 4 << 20  # of 0.25 to 4 MiB none was slower; memory in work is about ten times this per thread
_ROW_BYTES = 64 << 20  # longer than this without a line end is no table


def open_csv(path: Path, columns: Columns) -> tuple[Header, Generator[Block]]:
    """Open a CSV file; header and blocks as in `window_files.base`. Raises DataError."""
    cells, line = _first_row(path)
    has_header = _is_header(cells)
    layout = _named_layout(path, line, cells, columns) if has_header else _plain_layout(path, line, cells, columns)
    header = Header(
        leads=None,
        sampling_rate=None,
        unit=None,
        group_name=None if layout.group is None else group_name(layout.names[layout.group]),
        place="row",
        sample=lambda lead, sample: f"column {shown(layout.names[layout.samples[sample]])}",
        labels=columns.labels,
    )
    return header, _blocks(path, layout, skip=line if has_header else 0)


def _lines(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else path.open("rb")  # type: ignore[return-value]


def _first_row(path: Path) -> tuple[list[str], int]:
    """The cells of the first line that is not empty, and its number."""
    try:
        with _lines(path) as file:
            line = 0
            while raw := file.readline(_ROW_BYTES):
                line += 1
                if line == 1:
                    raw = raw.removeprefix(b"\xef\xbb\xbf")  # the byte order mark that spreadsheets write
                if raw.strip(b"\r\n"):
                    return cells_of(path, raw, line), line
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from error
    raise DataError(f"{path}: the file holds no rows; rows of samples and a label are needed")


def _is_header(cells: list[str]) -> bool:
    """Whether a first row holds names. One bad cell in a row of numbers is an error in data, not a header.

    A run of whole numbers 0, 1, 2, ... is the header that a table with unnamed columns gets.
    """
    numbers = [cell for cell in cells if NUMBER.match(cell) or SPECIAL.match(cell) or not cell]
    counting = [str(index) for index in range(len(numbers))]
    return 2 * len(numbers) < len(cells) or (len(numbers) > 2 and numbers == counting)


def _plain_layout(path: Path, line: int, cells: list[str], columns: Columns) -> Layout:
    """A file without header: samples, then the label."""
    if not columns.labelled:
        raise DataError(
            f"{path}: the file has no header, so nothing tells a label from a last sample; add one: signal_0, ..."
        )
    for name in (columns.label, columns.group, *(columns.labels or ())):
        if name is not None:
            raise DataError(
                f"{path}: the file has no header, so no column can be named '{name}'; leave the name out"
                " (the last column is the label) or add a header"
            )
    count = len(cells)
    if count < 2:
        raise _one_column(path, line, cells)
    names = (*(f"signal_{i}" for i in range(count - 1)), "label")
    return Layout(names, tuple(range(count - 1)), (count - 1,), None, None)


def _named_layout(path: Path, line: int, cells: list[str], columns: Columns) -> Layout:
    """A file with a header: each column is label, group, split or sample. Raises DataError."""
    names = tuple(cells)
    if len(names) < 2:
        raise _one_column(path, line, cells)
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        if not name:
            raise DataError(
                f"{path}: row {line}: column {index + 1} has no name; name it or leave it out (a saved index?)"
            )
        if name in seen:
            raise DataError(
                f"{path}: row {line}: columns {seen[name] + 1} and {index + 1} are both named {shown(name)}; names"
                " must differ"
            )
        seen[name] = index

    lower = {name.casefold(): index for name, index in reversed(seen.items())}
    groups = [lower[name] for name in PATIENT_NAMES + RECORD_NAMES if name in lower]
    split = lower.get("split")
    group = _column(path, names, columns.group, "group") if columns.group else (groups[0] if groups else None)
    if not columns.labelled:
        samples = _samples_by_name(names)
        _check_sample_names(path, line, names, samples)
        return Layout(names, samples, (), group, None)
    if columns.labels:
        label = tuple(_column(path, names, name, "labels") for name in columns.labels)
    elif columns.label:
        label = (_column(path, names, columns.label, "label"),)
    else:
        taken = {*groups, group, split}
        left = [index for index in range(len(names)) if index not in taken]
        if not left:
            raise DataError(f"{path}: row {line}: no label column; name one 'label' or make it the last column")
        label = (lower.get("label", left[-1]),)
    if group is not None and group in label:
        raise DataError(
            f"{path}: column {shown(names[group])} cannot be both label and group; name two different columns"
        )
    samples = tuple(i for i in range(len(names)) if i not in {*groups, group, split, *label})
    _check_sample_names(path, line, names, samples)
    return Layout(names, samples, label, group, split, several=columns.labels is not None)


def _column(path: Path, names: tuple[str, ...], wanted: str, what: str) -> int:
    if wanted in names:
        return names.index(wanted)
    some = [shown(name) for name in (names if len(names) <= 8 else (*names[:3], *names[-3:]))]
    if len(names) > 8:
        some.insert(3, "...")
    raise DataError(f"{path}: no column {shown(wanted)} for the {what}; the columns are {', '.join(some)}")


def _samples_by_name(names: tuple[str, ...]) -> tuple[int, ...]:
    """The columns that one prefix and a number name, of the prefix that most of them have."""
    found = [re.match(r"(.*?)\d{1,9}$", name) for name in names]
    counts = Counter(match[1] for match in found if match)
    prefix = counts.most_common(1)[0][0] if counts else None
    return tuple(index for index, match in enumerate(found) if match and match[1] == prefix)


def _check_sample_names(path: Path, line: int, names: tuple[str, ...], samples: tuple[int, ...]) -> None:
    """Samples are named by one prefix and a running number, so that no age or index is taken for a voltage."""
    if not samples:
        raise DataError(f"{path}: row {line}: no sample columns beside the label; signal_0, signal_1, ... are needed")
    prefix, expected = None, 0
    for index in samples:
        match = re.match(r"(.*?)(\d{1,9})$", names[index])
        if match and prefix is None:
            prefix, expected = match[1], int(match[2])
        if match is None or match[1] != prefix or int(match[2]) != expected:
            raise DataError(
                f"{path}: row {line}: column {index + 1} {shown(names[index])} is no next sample; sample columns are"
                f" numbered in order (signal_0, signal_1, ...), beside them label, patient, record and"
                " split are allowed"
            )
        expected += 1


def _one_column(path: Path, line: int, cells: list[str]) -> DataError:
    other = next((name for name, mark in (("semicolons", ";"), ("tabs", "\t")) if any(mark in c for c in cells)), None)
    hint = f" (it looks separated by {other})" if other else ""
    return DataError(f"{path}: row {line}: one column only{hint}; samples and a label separated by commas are needed")


def _blocks(path: Path, layout: Layout, skip: int) -> Generator[Block]:
    """The windows in file order; as many pieces in work as there are threads, so memory stays bounded."""
    workers = max(1, os.cpu_count() or 1)
    waiting: deque[Future[Block]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for piece in _pieces(path, skip):
                waiting.append(pool.submit(parse_piece, path, layout, piece))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _pieces(path: Path, skip: int) -> Iterator[Piece]:
    """The file after its first `skip` lines, cut at line ends."""
    try:
        with _lines(path) as file:
            for _ in range(skip):
                file.readline()
            line, rest = skip + 1, b"" if skip else file.read(3).removeprefix(b"\xef\xbb\xbf")
            while data := file.read(_PIECE_BYTES):
                cut = data.rfind(b"\n") + 1
                if not cut:
                    rest += data
                    if len(rest) > _ROW_BYTES:
                        raise DataError(
                            f"{path}: row {line}: longer than {_ROW_BYTES >> 20} MiB without a line end;"
                            " is it a CSV file?"
                        )
                    continue
                whole, rest = b"".join((rest, memoryview(data)[:cut])), data[cut:]
                yield Piece(whole, line)
                line += whole.count(b"\n")
            if rest:
                yield Piece(rest, line)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: BaseException) -> DataError:
    reason = " ".join(str(error).split())[:100] or type(error).__name__
    return DataError(f"{path}: cannot be read ({reason}); is the file complete and readable?")
