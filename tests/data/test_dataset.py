"""What a good file becomes."""

import errno
import gzip
import hashlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from ecgtune.data.dataset import Dataset, Source
from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.data.simulation import simulate
from ecgtune.errors import DataError, RunError, SettingError
from ecgtune.io.writing import write_csv
from helpers.reading import read_windows

SIXES = [f"p{i // 2}" for i in range(12)]


def read(path, **options):
    return read_windows(path, **({"sampling_rate": 100} | options))


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


@pytest.mark.slow
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
    assert dataset.classes == ("SR", "AF")
    assert dataset.label.tolist() == [1, 0] * 6
    assert dataset.samples == 9
    assert dataset.group_name == "site"
    assert dataset.group is not None
    assert dataset.group.tolist() == SIXES


@pytest.mark.parametrize("kind", ["csv", "npz"])
@pytest.mark.parametrize(
    ("text", "options", "classes", "label", "said"),
    [
        (["AF", "None", "AF", "None"], {}, ("None", "AF"), [1, 0, 1, 0], ["'None' is a class, although"]),
        (
            ["AF", "None", "SR", "AF"],
            {"missing": ["None"]},
            ("AF", "SR"),
            [0, 1, 0],
            ["3 of 12 windows left out: no label"],
        ),
        (["A|N", "N", "A", "A|N"], {"label_separator": "|"}, ("A", "N"), [[1, 1], [0, 1], [1, 0], [1, 1]], []),
        (["A|N", "N", "N", "N"], {"label_separator": "|", "labels": ["A"]}, ("no A", "A"), [1, 0, 0, 0], []),
        (["A|N", "N", "A", "A|N"], {}, ("A", "A|N", "N"), None, ["--label-separator '|'"]),
    ],
)
def test_labels_of_windows(tmp_path, signal, kind, text, options, classes, label, said):
    text, path = text * 3, tmp_path / f"windows.{kind}"
    if kind == "csv":
        frame = pd.DataFrame(signal, columns=[f"signal_{i}" for i in range(signal.shape[1])])
        frame.assign(label=text).to_csv(path, index=False)
    else:
        np.savez(path, signal=signal, label=np.array(text))
    dataset = read(path, **options)
    if dataset.task == "binary" and options:
        dataset = dataset.with_positive(classes[1])
    assert dataset.classes == classes
    if label is not None:
        assert_array_equal(dataset.label, label * 3)
    left = [row for row, name in enumerate(text) if name not in options.get("missing", ())]
    assert_array_equal(dataset.signal[:, 0], signal[left])
    notes = " ".join(dataset.source.notes)
    assert all(part in notes for part in said)
    assert bool(notes) == bool(said)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("signal_0", "signal_1", "signal_2"), "which column is the label? none is named so; name it with --label"),
        (("signal_0", "MI", "AF"), "which column is the label? it may be 'MI' or 'AF'; name it with --label"),
        (("signal_0", "signal_1", "site"), "none is named so, beside 'site'; name it with --label"),
    ],
)
def test_a_label_column_is_not_guessed(tmp_path, names, said):
    (tmp_path / "windows.csv").write_text(",".join(names) + "\n1,2,1\n2,3,0\n")
    with pytest.raises(DataError) as error:
        read(tmp_path / "windows.csv")
    assert said in str(error.value)


def test_other_columns_are_left_out_and_told_at_each_reading(csv_file, signal):
    for columns, said in (
        ({"site": SIXES, "age": range(12), "visit_date": SIXES}, ["not used: 'site', 'age' and 'visit_date'"]),
        ({"site": SIXES, "rhythm": ["AF", "SR"] * 6}, ["the labels are those of column 'rhythm'", "not used: 'site'"]),
    ):
        path = csv_file(**columns)
        if "rhythm" in columns:
            frame = pd.read_csv(path)
            frame.drop(columns="label").to_csv(path, index=False)
        for _ in range(2):  # the second time from the cache
            dataset = read(path)
            assert_array_equal(dataset.signal[:, 0], signal)
            assert len(dataset.source.notes) == len(said)
            assert all(part in note for part, note in zip(said, dataset.source.notes, strict=True))


@pytest.mark.parametrize(
    ("text", "classes", "codes"),
    [
        (["1", "0"], ("0", "1"), [1, 0]),
        (["1.0", "0.0"], ("0", "1"), [1, 0]),
        (["1", "2"], ("1", "2"), [0, 1]),
        (["normal", "AF"], ("normal", "AF"), [0, 1]),
        (["True", "False"], ("False", "True"), [1, 0]),
    ],
)
def test_labels_become_indices_into_classes(csv_file, text, classes, codes):
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
    dataset = read_windows(npz_file(signal=array))
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
    dataset = read_windows(path)
    np.testing.assert_allclose(dataset.signal, leads * 1e-3, rtol=1e-6)
    assert dataset.sampling_rate == 250
    assert dataset.leads == ("I", "II", "V1")
    assert dataset.classes == ("n", "a")
    assert dataset.group_name == "record"
    assert dataset.group is not None
    assert dataset.group.tolist() == np.repeat(np.arange(6), 2).astype(str).tolist()
    assert dataset.split is not None
    assert dataset.split.tolist() == ["train"] * 8 + ["val"] * 4


def test_compressed_npz_under_another_suffix(npz_file, signal, label, tmp_path):
    np.savez_compressed(tmp_path / "w.npz", signal=signal, label=label, fs=100)
    other = (tmp_path / "w.npz").rename(tmp_path / "w.dat")
    assert_array_equal(read_windows(other).signal[:, 0], signal)


@pytest.mark.parametrize(
    ("given", "part"),
    [(None, "does not say its sampling rate"), (0, "0 Hz"), (-100, "-100"), (float("nan"), "nan"), (1e6, "10000 Hz")],
)
def test_sampling_rate_is_given_and_sane(csv_file, given, part):
    with pytest.raises(DataError, match=part):
        read_windows(csv_file(), sampling_rate=given)


@pytest.mark.parametrize(
    ("arrays", "given", "part"),
    [
        ({"sampling_rate": 100}, 200, "100 Hz, but --sampling-rate says 200"),
        ({"sampling_rate": 0}, None, "sampling rate is 0 Hz"),
        ({"sampling_rate": float("inf")}, None, "sampling rate is inf"),
        ({"sampling_rate": np.array([100, 200])}, None, "one number in Hz"),
        ({"sampling_rate": "fast"}, None, "one number in Hz"),
        ({"fs": 250}, None, "says 'sampling_rate' 100 Hz but 'fs' 250 Hz; leave the wrong one out"),
        ({"unit": "furlong"}, None, r"unit 'furlong' is unknown; give it with --unit \(mV, uV, V, nV\)"),
        ({"leads": ["X1"]}, None, "'X1', is no known lead; .* --lead-names .of I, II, III, aVR"),
        ({"signal": np.arange(72).reshape(12, 2, 3), "leads": ["II", "ii"]}, None, "channels 1 and 2 are both lead II"),
    ],
)
def test_what_an_npz_says_of_itself_is_checked(npz_file, arrays, given, part):
    with pytest.raises(DataError, match=part) as caught:
        read_windows(npz_file(**arrays), sampling_rate=given)
    assert "\n" not in str(caught.value)


def test_equal_rates_in_file_and_argument_agree(npz_file):
    assert read_windows(npz_file(fs=100), sampling_rate=100).sampling_rate == 100


@pytest.mark.parametrize(
    ("in_file", "given", "leads"),
    [
        (None, None, ("II",)),
        (None, "avf", ("aVF",)),
        (["v1"], None, ("V1",)),
        (["V1"], "V1", ("V1",)),
        (["I", "AVR", "v6"], None, ("I", "aVR", "V6")),
        (["I", "AVR", "v6"], "avr", ("aVR",)),
    ],
)
@pytest.mark.parametrize("cache", [True, False])
def test_a_lead_names_the_one_or_picks_one_of_several(npz_file, cache_folder, signal, in_file, given, leads, cache):
    stored = signal if in_file is None else np.stack([signal + i for i in range(len(in_file))], axis=1)
    path = npz_file(signal=stored, leads=in_file)
    dataset = read_windows(path, lead=given, cache=cache)
    assert dataset.leads == leads
    whole = signal[:, None] if in_file is None else stored
    picked = slice(1, 2) if in_file is not None and len(in_file) > 1 and given else slice(None)
    assert_array_equal(dataset.signal, whole[:, picked])
    assert read_windows(path, cache=cache).signal.shape == whole.shape
    assert len(list(cache_folder.iterdir())) == cache  # the whole file is kept once, whichever lead is asked for


@pytest.mark.parametrize(
    ("leads", "given", "part"),
    [
        (["V1"], "II", "has no lead II, its leads are V1; name one of them"),
        (["I", "V1"], "aVL", "has no lead aVL, its leads are I, V1; name one of them"),
        (["I", "V1"], "V1", "window 3: all samples of lead V1 are equal .in 1 of 12 windows"),
    ],
)
def test_a_lead_that_the_file_cannot_give(npz_file, signal, leads, given, part):
    stored = np.repeat(signal[:, None], len(leads), axis=1)
    stored[3, 1:] = 0
    with pytest.raises(DataError, match=part):
        read_windows(npz_file(signal=stored, leads=leads), lead=given)


def test_some_leads_are_taken_in_the_order_asked_for(npz_file, signal):
    stored = np.stack([signal + i for i in range(4)], axis=1)
    dataset = read_windows(npz_file(signal=stored, leads=["I", "II", "III", "V1"]))
    assert dataset.with_leads(dataset.leads) is dataset
    for names, rows in ((("ii", "III"), slice(1, 3)), (("V1", "I"), [3, 0])):
        few = dataset.with_leads(names)
        assert few.leads == tuple(dataset.leads[row] for row in np.arange(4)[rows])
        assert_array_equal(few.signal, stored[:, rows])
    with pytest.raises(DataError, match="has no lead aVL"):
        dataset.with_leads(("I", "aVL"))
    with pytest.raises(SettingError, match="given twice in I, i"):
        dataset.with_leads(("I", "i"))


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"signal": np.zeros((8, 200), np.float32)}, r"float32 of shape \(8, 200\)"),
        ({"signal": np.zeros((8, 1, 200))}, "the signal is float64"),
        ({"signal": np.zeros((8, 1, 0), np.float32)}, r"of shape \(8, 1, 0\)"),
        ({"leads": ("I", "II")}, "do not name the 1 lead "),
        ({"leads": "V"}, "leads 'V' do not name"),
        ({"label": np.zeros(7, np.int64)}, r"label has shape \(7,\); \(8,\)"),
        ({"label": np.zeros(8)}, "labels are float64; int64"),
        ({"label": np.array([0, 1, 0, 2, 3, 0, 0, 0])}, "window 3 has label 2; allowed are 0 to 1"),
        ({"label": np.array([0, 1, 0, 1, -1, 0, 0, 0])}, "window 4 has label -1"),
        ({"group": np.array(["a"])}, r"group has shape \(1,\)"),
        ({"split": np.array([["train"] * 8])}, r"split has shape \(1, 8\)"),
        ({"sampling_rate": 0.0}, "sampling rate 0 Hz is not allowed"),
        ({"sampling_rate": float("nan")}, "sampling rate nan Hz"),
    ],
)
def test_a_dataset_by_hand_must_fit_together(change, part):
    dataset = simulate(8, patients=4, seconds=2)
    with pytest.raises(DataError, match=part) as caught:
        replace(dataset, **change)
    assert "\n" not in str(caught.value)


def test_a_dataset_does_not_look_at_its_samples():
    """Half a terabyte that takes no memory, as a map of a file does, until somebody reads it."""
    signal = np.broadcast_to(np.float32(0), (1 << 20, 12, 10_000))
    label = np.arange(len(signal)) % 2
    made = Dataset(signal, label, ("0", "1"), 500.0, STANDARD_LEADS, "mV", None, None, None, Source("by hand", ""))
    assert len(made) == 1 << 20


@pytest.mark.parametrize(
    ("options", "error", "part"),
    [
        ({"unit": "kV"}, SettingError, "allowed: mV, uV, V"),
        ({"limit": 1}, SettingError, "at least 2"),
        ({"lead": " "}, SettingError, "lead ' ' is unknown; allowed: I, II, III, aVR"),
        ({"lead": "V7"}, SettingError, "lead 'V7' is unknown; allowed: I, II, III, aVR"),
        ({"lead": "I,V1"}, SettingError, "allowed: .*; separate names by spaces: I V1"),
        ({"lead_names": ["I,-"]}, SettingError, "to leave a channel out; separate names by spaces: I -"),
        ({"lead": "copy"}, SettingError, r"lead 'copy' is unknown; .*lead_mode='copy' \(--lead-mode copy\)"),
        ({"seed": -1}, SettingError, "seed is -1; allowed: 0 or more"),
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
    small = read_windows(path, limit=300, seed=5)
    again = read_windows(path, limit=300, seed=5)
    other = read_windows(path, limit=300, seed=6)
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
    assert len(read_windows(path, limit=10_000)) == 600


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
    back = read_windows(write_csv(dataset, tmp_path / "out.csv"), sampling_rate=100, unit="mV")
    assert_array_equal(back.signal, dataset.signal)
    assert_array_equal(back.label, dataset.label)
    assert_array_equal(back.group, dataset.group)
    assert back.group_name == "patient"
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0].startswith("signal_0,signal_1,")
    assert lines[0].endswith("signal_199,label,patient")
    assert len(lines) == 41


def test_write_csv_replaces_nothing_and_leaves_no_part(tmp_path, monkeypatch):
    dataset = simulate(8, patients=4, seconds=2)
    path = write_csv(dataset, tmp_path / "new" / "out.csv")
    content = path.read_bytes()
    with pytest.raises(SettingError, match="exists already; name another file, or remove it"):
        write_csv(dataset, path)
    with pytest.raises(RunError, match="cannot be written") as caught:
        write_csv(dataset, path / "below a file.csv")
    assert "\n" not in str(caught.value)
    with monkeypatch.context() as patch:
        patch.setattr("pyarrow.csv.CSVWriter", lambda *_, **__: full_disk())
        with pytest.raises(RunError, match="No space left"):
            write_csv(dataset, tmp_path / "new" / "other.csv")
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == {"out.csv": content}


def full_disk():
    raise OSError(errno.ENOSPC, "No space left on device")


def test_write_csv_quotes_names_that_need_it(tmp_path):
    dataset = replace(simulate(8, patients=4, seconds=2), classes=('sinus, "normal"', "AF"))
    back = read_windows(write_csv(dataset, tmp_path / "out.csv"), sampling_rate=100)
    assert back.classes == ('sinus, "normal"', "AF")
    assert_array_equal(back.label, dataset.label)


FORMULAS = ("-AF", "=N", "+1a", "@b", "'-AF", "''=N", "a;=N", "-1", "'plain", "\uff1d1", "-")


def test_write_csv_reads_back_names_that_look_like_formulas(tmp_path):
    dataset = simulate(4 * len(FORMULAS), patients=len(FORMULAS), seconds=2)
    numbers = np.arange(len(dataset)) % len(FORMULAS)
    group = np.array(FORMULAS)[numbers]
    dataset = replace(dataset, label=numbers, classes=tuple(sorted(FORMULAS)), group=group)
    path = write_csv(dataset, tmp_path / "out.csv")
    back = read_windows(path, sampling_rate=100)
    assert back.group is not None
    assert back.group.tolist() == group.tolist()
    assert [back.classes[label] for label in back.label] == [dataset.classes[label] for label in dataset.label]
    rows = path.read_text(encoding="utf-8").splitlines()[1:]
    assert not [row for row in rows if {cell[0] for cell in row.rsplit(",", 2)[1:]} & set("=+@")]


def test_the_real_benchmark_reads_as_its_description_says(shared):
    path = shared / "data" / "cinc2017_windows.npz"
    raw = np.load(path)
    dataset = read_windows(path, unit="uV")
    assert dataset.signal.shape == (29_870, 1, 600)
    assert np.bincount(dataset.label).tolist() == [14_935, 14_935]
    assert dataset.sampling_rate == 100
    assert dataset.group_name == "record"
    assert dataset.split is not None
    assert (dataset.split == "train").sum() == 24_554
    np.testing.assert_allclose(dataset.signal[::500, 0], raw["signal"][::500] / 1000, rtol=1e-6)


def test_samples_too_large_for_any_unit(tmp_path, signal):
    values = np.array(signal, np.float32)
    values[3, 5] = 1e36
    np.savez(tmp_path / "w.npz", signal=values, label=np.arange(12) % 2)
    notes = read_windows(tmp_path / "w.npz", sampling_rate=100).source.notes
    assert any("1 window with samples beyond 1 V" in note and "window 3" in note for note in notes)
    with pytest.raises(DataError, match=r"w.npz.*window 3.*got 9.99.*e\+?35, which is no finite number below 3e35"):
        read_windows(tmp_path / "w.npz", sampling_rate=100, unit="V")
    kept = read_windows(tmp_path / "w.npz", sampling_rate=100, unit="V", drop_invalid=True)
    assert len(kept) == 11
    assert np.isfinite(kept.signal).all()
