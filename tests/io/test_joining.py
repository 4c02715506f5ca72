"""Files of their own for training, validation and test: windows, and tables of recordings."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from ecgtune.data.splits import split_dataset
from ecgtune.errors import DataError, SettingError
from ecgtune.io.joining import joined
from ecgtune.io.label_table import TableColumns, read_label_table
from ecgtune.io.records.reading import RecordSettings, read_records
from helpers.reading import read_windows


@pytest.fixture
def windows(tmp_path):
    """Writes a CSV of windows with the labels; gives path and samples."""

    def write(name, labels, samples=8, **columns):
        signal = np.random.default_rng(len(name)).integers(-99, 99, (len(labels), samples)).astype(np.float32)
        frame = pd.DataFrame(signal, columns=[f"signal_{i}" for i in range(samples)]).assign(label=labels, **columns)
        frame.to_csv(tmp_path / name, index=False)
        return tmp_path / name, signal

    return write


def test_windows_of_three_files(windows):
    train, first = windows("train.csv", ["N", "A", "O"] * 4)
    val, second = windows("val.csv", ["O", "A"] * 2)
    test, third = windows("test1.csv", ["O", "N"] * 2)
    dataset = read_windows(train, val_file=val, test_file=test, sampling_rate=100)
    assert_array_equal(dataset.signal[:, 0], np.concatenate([first, second, third]))
    assert dataset.classes == ("A", "N", "O")
    assert dataset.label.tolist() == [1, 0, 2] * 4 + [2, 0] * 2 + [2, 1] * 2
    split = split_dataset(dataset)
    assert [len(rows) for rows in split.by_name().values()] == [12, 4, 4]
    assert split.origin == f"by file: train {train}, val {val}, test {test}"


def test_without_a_file_of_validation_windows_some_are_drawn(windows):
    train, _ = windows("train.csv", ["other", "AF"] * 20)
    test, _ = windows("test.csv", ["other", "AF"] * 5)
    dataset = read_windows(train, test_file=test, sampling_rate=100, positive="other")
    assert dataset.classes == ("AF", "other")
    split = split_dataset(dataset)
    assert split.test.tolist() == list(range(40, 50))
    assert len(split.val) > 0


@pytest.mark.parametrize(
    ("labels", "columns", "options", "said"),
    [
        (["A", "N"], {"samples": 7}, {}, "samples 7, but"),
        (["A", "N"], {"split": ["train", "test"]}, {}, "has a split column, and --val-file or --test-file is given"),
        (["A", "N"], {}, {"labels": ["label"]}, "label 'label' is 'A'"),
        (["A", "N"], {"patient": ["p", "q"]}, {}, "group patient, but"),
    ],
)
def test_windows_that_do_not_fit(windows, labels, columns, options, said):
    train, _ = windows("train.csv", ["A", "N"] * 4)
    test, _ = windows("test.csv", labels, **columns)
    with pytest.raises(DataError) as error:
        read_windows(train, test_file=test, sampling_rate=100, **options)
    assert said in str(error.value)


def test_a_patient_in_two_files(windows):
    train, _ = windows("train.csv", ["A", "N"] * 4, patient=list("aabbccdd"))
    test, _ = windows("test.csv", ["A", "N"], patient=list("ed"))
    with pytest.raises(DataError, match="patient 'd' is in split 'test' but in 'train'"):
        read_windows(train, test_file=test, sampling_rate=100)


def test_labels_that_one_file_lacks_are_negative_there(windows):
    path, _ = windows("train.csv", ["A|N", "N", "A"] * 2)
    whole = read_windows(path, sampling_rate=100, label_separator="|")
    other = replace(whole, classes=("B", "N"))
    found = joined({"train": whole, "test": other}, absent=0)
    assert found.classes == ("A", "B", "N")
    assert_array_equal(found.label[:3], [[1, 0, 1], [0, 0, 1], [1, 0, 0]])
    assert_array_equal(found.label[6:9], [[0, 1, 1], [0, 0, 1], [0, 1, 0]])


def test_tables_of_recordings(folder, tmp_path):
    table, records = folder(12)
    lines = table.read_text().splitlines()
    parts = {"train": lines[1:7], "val": lines[7:9], "test": lines[9:]}
    for name, rows in parts.items():
        (records / f"{name}.csv").write_text("\n".join([lines[0], *rows]) + "\n")
    columns = TableColumns(val_file=records / "val.csv", test_file=records / "test.csv")
    dataset = read_records(records / "train.csv", records, columns=columns, settings=RecordSettings(window=10.0))
    assert dataset.recording.tolist() == [f"r{i:02}" for i in range(12)]
    assert dataset.split.tolist() == ["train"] * 6 + ["val"] * 2 + ["test"] * 4
    assert dataset.label.tolist() == [i % 2 for i in range(12)]
    (records / "val.csv").write_text("record,label\nr03,1\nr07,0\n")
    with pytest.raises(DataError, match=r"val.csv: row 2: recording 'r03' is already in row 5 of .*train.csv"):
        read_label_table(records / "train.csv", columns)
    (records / "val.csv").write_text("name,rhythm\nr03,1\n")
    with pytest.raises(DataError, match="have no column in common"):
        read_label_table(records / "train.csv", columns)


def test_files_and_another_split(tmp_path):
    with pytest.raises(SettingError, match="--fold and --val-file or --test-file are both given"):
        TableColumns(fold="k", test_file=tmp_path)
