"""A folder of small WFDB recordings and the table of their labels."""

from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.records import heartbeats, write_record


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Writes `count` recordings r00, r01, ... and labels.csv with `record,label`; gives table and folder."""

    def write(count: int = 12, **record) -> tuple[Path, Path]:
        for index, signal in enumerate(heartbeats(count)):
            write_record(tmp_path / "records", f"r{index:02}", signal, **record)
        table = tmp_path / "labels.csv"
        table.write_text("record,label\n" + "".join(f"r{index:02},{index % 2}\n" for index in range(count)))
        return table, tmp_path / "records"

    return write
