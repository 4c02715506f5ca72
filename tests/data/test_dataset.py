"""What a good file becomes."""

import gzip
import hashlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from ecgtune.data import read_dataset, simulate, write_csv
from ecgtune.errors import DataError, SettingError

SIXES = [f"p{i // 2}" for i in range(12)]


def read(path, **options):
    return read_dataset(path, **({"sampling_rate": 100} | options))


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("cache", [True, False])
def test_csv_gives_the_numbers_that_pandas_gives(csv_file, header, cache):
    path = csv_file(header=header)
    expected = pd.read_csv(path, header=0 if header else None, dtype=np.float64).to_numpy()
    dataset = read(path, cache=cache)
    assert_array_equal(dataset.signal[:, 0], expected[:, :-1].astype(np.float32))
    assert_array_equal(dataset.label, expected[:, -1].astype(int))
    assert dataset.signal.dtype == np.float32
    assert dataset.label.dtype == np.int64
    assert not dataset.signal.flags.writeable
    assert (dataset.classes, dataset.leads, dataset.unit, dataset.sampling_rate) == (
        ("0", "1"),
        ("II",),
        "unknown",
        100.0,
    )
    assert dataset.group is None
    assert dataset.group_name is None
    assert dataset.split is None
    assert dataset.source.path == str(path)
    assert dataset.source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_csv_larger_than_one_piece_keeps_order_and_rows(tmp_path):
    """Several pieces in several threads, and an error far down still names its line."""
    signal = np.random.default_rng(0).normal(size=(3000, 400)).astype(np.float32)
    frame = pd.DataFrame(signal, columns=[f"signal_{i}" for i in range(400)]).assign(label=np.arange(3000) % 2)
    path = tmp_path / "large.csv"
    frame.to_csv(path, index=False)
    assert path.stat().st_size > 2 * (4 << 20)
    assert_array_equal(read(path).signal[:, 0], signal)
    frame.loc[2500, "signal_7"] = np.inf
    frame.to_csv(path, index=False)
    with pytest.raises(DataError, match=r"row 2502, column 'signal_7': got inf"):
        read(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.removesuffix("\n"),
        lambda text: "\n\n" + text.replace("\n", "\n\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace(",", ", "),
        lambda text: text.replace("label", '"label"'),
    ],
    ids=["crlf", "no final line feed", "empty lines", "byte order mark", "spaces", "quotes"],
)
@pytest.mark.parametrize("header", [True, False])
def test_csv_dialects_read_alike(csv_file, signal, label, change, header):
    path = csv_file(header=header)
    path.write_bytes(change(path.read_text()).encode())
    dataset = read(path)
    assert_array_equal(dataset.signal[:, 0], signal)
    assert_array_equal(dataset.label, label)


def test_gzip_csv(csv_file, signal):
    path = csv_file()
    packed = path.with_name("windows.csv.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert_array_equal(read(packed).signal[:, 0], signal)


@pytest.mark.parametrize(
    ("columns", "group_name"),
    [
        ({"patient": SIXES}, "patient"),
        ({"patient_id": SIXES}, "patient"),
        ({"record": SIXES}, "record"),
        ({"Recording_ID": SIXES}, "record"),
        ({"record": [f"r{i}" for i in range(12)], "patient": SIXES}, "patient"),
    ],
)
def test_group_columns_are_known_by_name_and_patient_wins(csv_file, signal, columns, group_name):
    dataset = read(csv_file(**columns))
    assert dataset.group is not None
    assert dataset.group.tolist() == SIXES
    assert dataset.group_name == group_name
    assert_array_equal(dataset.signal[:, 0], signal)


def test_columns_can_be_named(csv_file):
    path = csv_file(rhythm=["AF", "SR"] * 6, site=SIXES)
    path.write_text(path.read_text().replace("label", "signal_8"))
    dataset = read(path, label="rhythm", group="site")
    assert dataset.classes == ("AF", "SR")
    assert dataset.label.tolist() == [0, 1] * 6
    assert dataset.samples == 9
    assert dataset.group_name == "site"
    assert dataset.group is not None
    assert dataset.group.tolist() == SIXES


@pytest.mark.parametrize(
    ("text", "classes", "codes"),
    [
        (["1", "0"], ("0", "1"), [1, 0]),
        (["1.0", "0.0"], ("0", "1"), [1, 0]),
        (["1", "2"], ("1", "2"), [0, 1]),
        (["normal", "AF"], ("AF", "normal"), [1, 0]),
        (["True", "False"], ("False", "True"), [1, 0]),
    ],
)
def test_labels_become_indices_into_sorted_classes(csv_file, text, classes, codes):
    dataset = read(csv_file(label=text * 6))
    assert dataset.classes == classes
    assert dataset.label.tolist() == codes * 6


def test_a_column_named_label_need_not_be_last(csv_file, signal, label):
    path = csv_file()
    frame = pd.read_csv(path)
    frame[["label", *frame.columns[:-1]]].to_csv(path, index=False)
    dataset = read(path)
    assert_array_equal(dataset.signal[:, 0], signal)
    assert_array_equal(dataset.label, label)


def test_the_counted_header_of_an_unnamed_table_is_no_window(csv_file, signal, label):
    path = csv_file(header=False)
    path.write_text(",".join(map(str, range(9))) + "\n" + path.read_text())
    assert len(read(path)) == 12


def test_split_column_is_read_with_its_usual_names(csv_file):
    split = ["train", "Training", "val", "validation", "dev", "test"] * 2
    dataset = read(csv_file(split=split))
    assert dataset.split is not None
    assert dataset.split.tolist() == ["train", "train", "val", "val", "val", "test"] * 2


@pytest.mark.parametrize(("unit", "factor"), [("mV", 1), ("uV", 1e-3), ("V", 1e3)])
def test_units_become_millivolts(csv_file, npz_file, signal, unit, factor):
    for dataset in (read(csv_file(), unit=unit), read(npz_file(unit=unit))):
        np.testing.assert_allclose(dataset.signal[:, 0], signal * factor, rtol=1e-6)
        assert dataset.unit == "mV"


@pytest.mark.parametrize("kind", ["int16", "float64", ">f4", "fortran", "three dimensions"])
def test_npz_array_kinds(npz_file, signal, kind):
    whole = np.round(signal)
    stored = {"fortran": np.asfortranarray(whole), "three dimensions": whole[:, None]}
    array = stored[kind] if kind in stored else whole.astype(kind)
    dataset = read_dataset(npz_file(signal=array))
    assert_array_equal(dataset.signal[:, 0], whole)
    assert dataset.sampling_rate == 100.0


def test_npz_with_several_leads_and_everything_it_may_say(npz_file, signal, label):
    leads = np.stack([signal, -signal, 0 * signal], axis=1)  # one flat lead is allowed
    path = npz_file(
        signal=leads,
        label=np.array(["n", "a"])[label],
        sampling_rate=None,
        fs=250,
        leads=np.array(["I", "II", "V1"]),
        record=np.repeat(np.arange(6), 2),
        split=np.repeat(np.array([b"train", b"val"]), [8, 4]),
        unit="uV",
        start_sample=np.arange(12),
    )
    dataset = read_dataset(path, lead="V5")
    np.testing.assert_allclose(dataset.signal, leads * 1e-3, rtol=1e-6)
    assert dataset.sampling_rate == 250
    assert dataset.leads == ("I", "II", "V1")
    assert dataset.classes == ("a", "n")
    assert dataset.group_name == "record"
    assert dataset.group is not None
    assert dataset.group.tolist() == np.repeat(np.arange(6), 2).astype(str).tolist()
    assert dataset.split is not None
    assert dataset.split.tolist() == ["train"] * 8 + ["val"] * 4


def test_compressed_npz_under_another_suffix(npz_file, signal, label, tmp_path):
    np.savez_compressed(tmp_path / "w.npz", signal=signal, label=label, fs=100)
    other = (tmp_path / "w.npz").rename(tmp_path / "w.dat")
    assert_array_equal(read_dataset(other).signal[:, 0], signal)


@pytest.mark.parametrize(
    ("given", "part"), [(None, "never guessed"), (0, "0 Hz"), (-100, "-100"), (float("nan"), "nan"), (1e6, "10000 Hz")]
)
def test_sampling_rate_is_given_and_sane(csv_file, given, part):
    with pytest.raises(DataError, match=part):
        read_dataset(csv_file(), sampling_rate=given)


@pytest.mark.parametrize(
    ("arrays", "given", "part"),
    [
        ({"sampling_rate": 100}, 200, "100 Hz, but 200 Hz was given"),
        ({"sampling_rate": 0}, None, "sampling rate 0 Hz"),
        ({"sampling_rate": float("inf")}, None, "sampling rate inf"),
        ({"sampling_rate": np.array([100, 200])}, None, "one value for the whole file"),
        ({"sampling_rate": "fast"}, None, "one number in Hz"),
        ({"unit": "furlong"}, None, "unit 'furlong' is unknown; allowed are mV, uV, V"),
    ],
)
def test_what_an_npz_says_of_itself_is_checked(npz_file, arrays, given, part):
    with pytest.raises(DataError, match=part):
        read_dataset(npz_file(**arrays), sampling_rate=given)


def test_equal_rates_in_file_and_argument_agree(npz_file):
    assert read_dataset(npz_file(), sampling_rate=100).sampling_rate == 100


@pytest.mark.parametrize(
    ("options", "error", "part"),
    [
        ({"unit": "kV"}, DataError, "allowed are mV, uV, V"),
        ({"limit": 1}, SettingError, "at least 2"),
        ({"lead": " "}, SettingError, "such as 'II'"),
        ({"label": "rhythm"}, DataError, "no column 'rhythm' for the label; the columns are 'signal_0', 'signal_1'"),
        ({"group": "site"}, DataError, "no column 'site' for the group"),
        ({"group": "label"}, DataError, "both label and group"),
    ],
)
def test_arguments_are_checked(csv_file, options, error, part):
    with pytest.raises(error, match=part):
        read(csv_file(), **options)


def test_limit_keeps_groups_labels_and_splits(tmp_path):
    whole = simulate(600, patients=90, seconds=2)
    split = np.where(np.unique(whole.group, return_inverse=True)[1] < 60, "train", "val")
    path = tmp_path / "w.npz"
    np.savez(
        path, signal=whole.signal, label=whole.label, patient=whole.group, split=split, fs=100, unit="mV", leads=["II"]
    )
    small = read_dataset(path, limit=300, seed=5)
    again = read_dataset(path, limit=300, seed=5)
    other = read_dataset(path, limit=300, seed=6)
    assert len(small) == 300
    assert_array_equal(small.signal, again.signal)
    assert not np.array_equal(small.signal, other.signal)
    assert small.group is not None
    assert small.split is not None
    assert abs(small.label.mean() - whole.label.mean()) < 0.01
    assert abs((small.split == "train").mean() - (split == "train").mean()) < 0.01
    sizes = dict(zip(*np.unique(whole.group, return_counts=True), strict=True))
    kept = dict(zip(*np.unique(small.group, return_counts=True), strict=True))
    cut = [name for name, n in kept.items() if n != sizes[name]]
    assert len(cut) < len(kept) / 3  # one group per stratum may be cut, and those of two rhythms fall into two strata
    assert len(read_dataset(path, limit=10_000)) == 600


def test_select_keeps_columns_together(csv_file, signal):
    dataset = read(csv_file(patient=SIXES, split=["train"] * 12)).select([7, 2])
    assert_array_equal(dataset.signal[:, 0], signal[[7, 2]])
    assert dataset.group is not None
    assert dataset.group.tolist() == ["p3", "p1"]
    assert dataset.label.tolist() == [1, 0]
    assert dataset.split is not None
    assert len(dataset.split) == 2


def test_write_csv_reads_back_equal(tmp_path):
    dataset = simulate(40, seconds=2)
    back = read_dataset(write_csv(dataset, tmp_path / "out.csv"), sampling_rate=100, unit="mV")
    assert_array_equal(back.signal, dataset.signal)
    assert_array_equal(back.label, dataset.label)
    assert_array_equal(back.group, dataset.group)
    assert back.group_name == "patient"
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0].startswith("signal_0,signal_1,")
    assert lines[0].endswith("signal_199,label,patient")
    assert len(lines) == 41
    with pytest.raises(DataError, match="cannot be written"):
        write_csv(dataset, tmp_path / "missing" / "out.csv")


def test_write_csv_quotes_names_that_need_it(tmp_path):
    dataset = replace(simulate(8, patients=4, seconds=2), classes=('sinus, "normal"', "AF"))
    back = read_dataset(write_csv(dataset, tmp_path / "out.csv"), sampling_rate=100)
    assert back.classes == ("AF", 'sinus, "normal"')
    assert_array_equal(back.label, 1 - dataset.label)


def test_the_real_benchmark_reads_as_its_description_says(shared):
    path = shared / "data" / "cinc2017_windows.npz"
    raw = np.load(path)
    dataset = read_dataset(path, unit="uV")
    assert dataset.signal.shape == (29_870, 1, 600)
    assert np.bincount(dataset.label).tolist() == [14_935, 14_935]
    assert dataset.sampling_rate == 100
    assert dataset.group_name == "record"
    assert dataset.split is not None
    assert (dataset.split == "train").sum() == 24_554
    np.testing.assert_allclose(dataset.signal[::500, 0], raw["signal"][::500] / 1000, rtol=1e-6)
