"""Everything that `ecgtune data check` has to tell is in its text."""

import pytest

from ecgtune.data.splits import split_dataset
from ecgtune.io.label_table import TableColumns
from ecgtune.io.records.reading import RecordSettings, inspect_records
from ecgtune.io.records.report import inspection_text, split_text
from helpers.records import heartbeats, write_record


def test_labels_are_counted_where_the_recording_can_be_read(folder):
    table, records = folder(12)
    for index in (1, 3, 5):
        (records / f"r{index:02}.dat").write_bytes(b"")
    rows = [f"r{index:02},{index % 2}" for index in range(12)]
    table.write_text("\n".join(["record,AF", *rows]))
    found = inspect_records(
        table, records, columns=TableColumns(), settings=RecordSettings(window=10.0, max_skipped=0.5)
    )
    text = inspection_text(found)
    assert "9 of 12 with a label can be read" in text
    assert "6 of 9 (66.7 %)" in text
    assert "3 of 9 (33.3 %)" in text


@pytest.mark.parametrize("spelling", ["records/{}", "{}.dat", "./{}.hea", "some\\folder\\{}"])
def test_labels_are_counted_however_the_table_spells_the_recordings(folder, spelling):
    table, records = folder(12)
    rows = [f"{spelling.format(f'r{index:02}')},{index % 2}" for index in range(12)]
    table.write_text("\n".join(["record,AF", *rows]))
    found = inspect_records(table, records, settings=RecordSettings(window=10.0))
    assert "6 of 12 (50.0 %)" in inspection_text(found)
    assert found.dataset.recording.tolist() == [f"r{index:02}" for index in range(12)]


def test_a_column_of_folds_that_nobody_asked_for_is_named(folder):
    table, records = folder(12)
    rows = [f"r{index:02},{index % 2},{index % 10 + 1}" for index in range(12)]
    table.write_text("\n".join(["record,AF,Strat_Fold", *rows]))
    told = {}
    for fold in (None, "Strat_Fold"):
        found = inspect_records(
            table, records, columns=TableColumns(label="AF", fold=fold), settings=RecordSettings(window=10.0)
        )
        told[fold] = (inspection_text(found), " ".join(found.dataset.source.notes))
    assert "column 'Strat_Fold' is not used without --fold" in told[None][0]
    assert "--fold Strat_Fold splits by it" in told[None][1]
    assert not any("Strat_Fold" in text for text in told["Strat_Fold"])


def test_everything_is_told(folder, tmp_path):
    table, records = folder(12)
    signal = heartbeats(12)
    write_record(records, "copy", 2 * signal[3], leads=("II",))
    write_record(records, "short", heartbeats(1, seconds=7, seed=5)[0])
    rows = [f"r{i:02},p{i // 2},{i % 2},{'' if i == 7 else i % 3 // 2}" for i in range(1, 12)]
    table.write_text(
        "\n".join(["record,patient,AF,PVC", *rows, "copy,px,1,0", "short,py,0,1", "gone,pz,0,0", "no,pz,,"])
    )
    settings = RecordSettings(window=10.0, max_skipped=0.1)
    found = inspect_records(table, records, columns=TableColumns(labels=("AF", "PVC")), settings=settings)
    text = inspection_text(found)
    for part in (
        "13 of 14 with a label can be read",
        "200 Hz (13)",
        "II (13)",
        "7 to 10 s",
        "multilabel, 2 labels",
        "(53.8 %)",
        "1 missing",
        "8 patients, each in one split",
        "1 row of the table, left out: no",
        "1 row of the table: gone",
        "1 recording in the folder: r00",
        "1, such as gone: no recording of this name",
        "shorter than a window:",
        "1 recording: short",
        "1 pair of recordings, at any gain, offset or rate: r03 = copy (1.000)",
        "13 of 1 lead and 2000 samples at 200 Hz",
    ):
        assert part in text, part
    split = split_dataset(found.dataset, allow_duplicates=True)
    told = split_text(found.dataset, split)
    assert "split: drawn 70/15/15 by patient" in told
    assert "warning: 1 of 14 labelled recordings left out" in told
    assert all(f"  {name}: {len(rows)} windows of" in told for name, rows in split.by_name().items())


def test_notes_of_the_readers_are_counted(folder):
    table, records = folder(12)
    for index in (2, 5):
        header = records / f"r{index:02}.hea"
        header.write_text(header.read_text().replace("/mV", "/V"))
    found = inspect_records(table, records, settings=RecordSettings(window=10.0))
    note = "2 recordings (r02, ...): the median absolute amplitude is above 20 mV, implausible for an ECG"
    assert f"{note}; check the unit V (stated by the file)" in inspection_text(found)
    assert "beyond 1 V" not in inspection_text(found)  # the same unit is doubted once
    assert any(text.startswith(note) for text in found.dataset.source.notes)
