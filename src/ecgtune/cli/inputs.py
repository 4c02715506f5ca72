"""Options of the data: a file of windows, or a table of labels and a folder of recordings."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from ecgtune.cli.options import DATA, MACHINE, MOST_USED, RECORDINGS, SPLIT, ReadFlags, given
from ecgtune.config.reading import OF_RECORDINGS, UNIT_NEEDED, flag_of
from ecgtune.errors import DataError, QuestionError, SettingError

if TYPE_CHECKING:
    from ecgtune.data.dataset import Dataset
    from ecgtune.io.records.reading import Inspection, RecordFiles
    from ecgtune.io.windows import WindowFiles
    from ecgtune.recipes.recipe import Recipe

BOTH_LEADS = "--lead and --leads are both given; give --leads alone"


@Parameter(name="*", group=DATA)
@dataclass(frozen=True)
class Reading:
    """How to read the file of windows, or the recordings."""

    label: Annotated[str | None, Parameter(group=MOST_USED)] = None
    """Column of the labels, two classes or more; `label` when not given, else the only column that can hold labels (the
    last one in a file of windows without a header)."""
    labels: Annotated[tuple[str, ...] | None, Parameter(consume_multiple=True)] = None
    """Several label columns of 0 and 1 (empty: missing), --labels MI STTC HYP, instead of one column. Of a column with
    several labels a row (--label-separator, --scp, --labels-from-headers) those to use, one against the rest."""
    label_separator: str | None = None
    """Character between several labels in one column, such as '|' for AFIB|SR."""
    missing: Annotated[tuple[str, ...], Parameter(consume_multiple=True, show_default=False)] = ()
    """Values of the label columns that mean a missing label, beside empty cells: --missing None unknown."""
    positive: str | None = None
    """Positive class of two, whose probability is reported. Chosen by name (not "normal", "other", "no", 0), else the
    rarer one, when not given."""
    group: str | None = None
    """Column of the patient or recording that a window belongs to; `patient` or `record` when not given."""
    lead: str | None = None
    """Recorded lead (II when the file does not name it), or the one to take of several."""
    val_file: Annotated[Path | None, Parameter(group=SPLIT)] = None
    """File of validation windows, or table of validation recordings; DATA is then for training."""
    test_file: Annotated[Path | None, Parameter(group=SPLIT)] = None
    """File of test windows, or table of test recordings; DATA is then for training."""
    drop_invalid: bool = False
    """Leave out windows with samples that are no number and windows in which no lead changes."""
    limit: int | None = None
    """Largest number of windows to use: whole groups, all classes in proportion."""
    files: ReadFlags = field(default_factory=ReadFlags)

    def window_files(self, data: Path) -> WindowFiles:
        """The file of windows and how it is read. Raises SettingError."""
        from ecgtune.io.windows import WindowFiles, WindowSettings

        names = ("val_file", "test_file", "label_separator", "missing", "positive", "drop_invalid", "limit")
        settings = {name: getattr(self, name) for name in names}
        settings |= {name: getattr(self.files, name) for name in ("unit", "lead_names", "layout")}
        return WindowFiles(
            data,
            label=self.label,
            labels=self.labels,
            group=self.group,
            sampling_rate=self.files.sampling_rate,
            lead=self.lead,
            settings=WindowSettings(**settings),
        )


@Parameter(name="*", group=RECORDINGS)
@dataclass(frozen=True)
class RecordFlags:
    """A folder of recordings, with DATA as the table of their labels: CSV, one row per recording."""

    records: Annotated[Path | None, Parameter(group=MOST_USED)] = None
    """Folder of recordings (WFDB, EDF, DICOM, HDF5, ...), or an HDF5 file of many recordings; DATA is then the
    table of their labels. Links to files in it are followed, links to folders are not."""
    scp: Literal["superclass", "subclass", "diagnostic", "form", "rhythm", "all"] | None = None
    """Statements that are labels in PTB-XL's column scp_codes (ptbxl_database.csv)."""
    labels_from_headers: bool = False
    """Take the diagnoses in the lines '# Dx:' of WFDB headers as labels (CinC Challenges 2020 and 2021); DATA is then
    the folder."""
    recording_column: str | None = None
    """Column of the table that names the recordings, with or without folder and suffix."""
    match_numbers: bool = False
    """Match a recording that the table names by a number, 1, with the only one that has it in its name, 00001_hr."""
    patient: str | None = None
    """Column of patients; `patient` or `patient_id` when not given. A patient, or without them a recording, is in one
    split only."""
    site: str | None = None
    """Column of the site of a recording, for `ecgtune compare --leave-site-out`."""
    fold: Annotated[str | None, Parameter(group=SPLIT)] = None
    """Column of train / val / test, or of fold numbers, used as they are (PTB-XL: strat_fold)."""
    val_fold: Annotated[int | None, Parameter(group=SPLIT)] = None
    """Fold to validate on; 9 of strat_fold, else the last but one."""
    test_fold: Annotated[int | None, Parameter(group=SPLIT)] = None
    """Fold to test on; 10 of strat_fold, else the last."""
    published: Annotated[Literal["mitdb"] | None, Parameter(group=SPLIT)] = None
    """Published split by recording: mitdb is DS1 / DS2 of the MIT-BIH Arrhythmia Database without paced records."""
    leads: Annotated[tuple[str, ...] | None, Parameter(consume_multiple=True)] = None
    """Leads of the windows; of recordings, missing ones are derived from I and II, or zeros. Those recorded when not
    given. A finished run has its own for recordings."""
    max_skipped: float = 0.01
    """Fraction of recordings that may be missing or unusable; they are listed in skipped.csv."""
    skipped: Path = Path("skipped.csv")
    """List of the recordings that could not be used, with reasons; written only if there are any."""
    workers: Annotated[int | None, Parameter(group=MACHINE)] = None
    """Processes that read recordings; the number of cores when not given."""

    @property
    def used(self) -> bool:
        """Whether the data are recordings, not a file of windows."""
        return self.records is not None or self.labels_from_headers


@Parameter(name="*", group=RECORDINGS)
@dataclass(frozen=True)
class SignalFlags:
    """The signal path from recordings to windows."""

    resample: float | None = None
    """Sampling rate of the windows in Hz; the model's when not given."""
    window: float | None = None
    """Seconds of a window; whole recordings, which have to be of one length, when not given."""
    step: float | None = None
    """Seconds from one window to the next; the window's length when not given, less overlaps."""
    short: Literal["repeat", "refuse"] = "repeat"
    """A recording shorter than the window is repeated from its start, or refused."""
    band: tuple[float, float] | None = None
    """Zero-phase band-pass in Hz, such as 0.5 40."""
    mains: Literal["50", "60"] | None = None
    """Mains frequency to remove, in Hz."""
    longest_gap: float = 0.1
    """Longest run of invalid samples that is interpolated, 0 to 2 s; windows are cut from the parts between longer
    ones."""
    recording_zscore: bool = False
    """z-score per lead over the whole recording, as in ECG-FM's training, where windows are not normalised."""


@Parameter(name="*")
@dataclass(frozen=True)
class LabelledFlags:
    """What DATA is, without the signal path, which a run determines."""

    reading: Reading = field(default_factory=Reading)
    records: RecordFlags = field(default_factory=RecordFlags)


@Parameter(name="*")
@dataclass(frozen=True)
class InputFlags(LabelledFlags):
    """What DATA is, and how it is read."""

    signal: SignalFlags = field(default_factory=SignalFlags)


@Parameter(name="*", group=SPLIT)
@dataclass(frozen=True)
class RoundFlags:
    """The comparison repeated over other splits of the same windows."""

    folds: int | None = None
    """Number of folds of a cross-validation; each patient or recording is tested once."""
    nested: bool = False
    """With --folds: each test fold with each other fold as validation."""
    leave_site_out: bool = False
    """Test each site (--site) once, with models that were trained on the others."""

    def of(self, dataset: Dataset, *, seed: int) -> tuple[Dataset, ...]:
        """The rounds of cross-validation; none where one split is enough."""
        if self.folds is not None and self.leave_site_out:
            raise SettingError("--folds and --leave-site-out are both given; give one of them")
        if self.nested and self.folds is None:
            raise SettingError("--nested needs --folds")
        if self.folds is None and not self.leave_site_out:
            return ()
        from ecgtune.data.folds import k_folds, leave_one_site_out

        if self.folds is not None:
            return k_folds(dataset, self.folds, seed=seed, nested=self.nested)
        return leave_one_site_out(dataset)


def check_window_flags(inputs: InputFlags) -> None:
    """Raise SettingError for flags of recordings, but for leads, with a file of windows."""
    asked = [name for name in OF_RECORDINGS if name in given(inputs.reading.files)]
    for flags in (dataclasses.replace(inputs.records, leads=None), inputs.signal):
        asked += [item.name for item in dataclasses.fields(flags) if getattr(flags, item.name) != item.default]
    if asked:
        raise SettingError(f"{flag_of(asked[0])} is an option of recordings; give their folder with --records")
    if inputs.records.leads and inputs.reading.lead:
        raise SettingError(BOTH_LEADS)


def read_data(data: Path, inputs: InputFlags, recipes: Sequence[Recipe]) -> Dataset:
    """The windows that the options describe; from recordings at the rate of the recipes' models, if they share one.

    Missing files, unknown models and weights that are not available are errors before anything is read.
    """
    reading, records = inputs.reading, inputs.records
    check_exists(data, records.records, reading.val_file, reading.test_file)
    from ecgtune.recipes.lookup import resolve_models

    resolve_models(recipes)
    if not records.used:
        check_window_flags(inputs)
        windows = _windows(data, reading, recipes)
        return windows.with_leads(records.leads) if records.leads else windows
    found = inspect(data, inputs, [recipe.model.name for recipe in recipes])
    if found.dataset is None:
        raise DataError(". Also: ".join((*found.problems, *_leads_problems(found, inputs, recipes))))
    if reading.limit is None or reading.limit >= len(found.dataset):
        return found.dataset
    from ecgtune.data.dataset import limited

    return limited(found.dataset, reading.limit)


def _windows(data: Path, reading: Reading, recipes: Sequence[Recipe]) -> Dataset:
    """Read a file of windows; what the recipes will ask about it is asked with what the file leaves open."""
    from ecgtune.io.windows import read_window_files

    try:
        return read_window_files(reading.window_files(data))
    except QuestionError as question:
        from ecgtune.io.readers.registry import window_reader

        stated = window_reader(data).windows_state_facts or reading.files.unit is not None
        if stated or all(recipe.data.normalisation != "none" for recipe in recipes):
            raise
        raise QuestionError(question.where, *question.questions, UNIT_NEEDED) from None


def _leads_problems(found: Inspection, inputs: InputFlags, recipes: Sequence[Recipe]) -> dict[str, None]:
    """Say why leads of the recordings do not fit the encoders, each reason once."""
    if inputs.reading.lead is not None or inputs.records.leads is not None:
        return {}
    from ecgtune.models.loading import leads_problem

    leads = tuple(dict.fromkeys(lead for known in found.facts.values() for lead in known.leads))
    models = {recipe.model.name for recipe in recipes if recipe.model.lead_mode != "adapter"}
    return dict.fromkeys(filter(None, (leads_problem(model, leads) for model in sorted(models))))


def inspect(data: Path, inputs: InputFlags, models: Sequence[str] = ()) -> Inspection:
    """Read the recordings in `records.records`, with a progress bar, and print the notes about them."""
    from ecgtune.io.records.reading import inspect_records
    from ecgtune.utils.progress import ProgressBar

    files = record_files(data, inputs)
    settings = files.settings
    if models:
        own = _input_of(models)
        own["sampling_rate"] = inputs.signal.resample or own["sampling_rate"]
        settings = dataclasses.replace(settings, **own)
    with ProgressBar() as bar:
        bar.describe("recordings")
        return inspect_records(
            files.table,
            files.records,
            columns=files.columns,
            options=files.options,
            settings=settings,
            skipped=inputs.records.skipped,
            progress=bar.count,
        )


def record_files(data: Path, inputs: InputFlags) -> RecordFiles:
    """The table of labels, the recordings, and how both are read. Raises SettingError."""
    from ecgtune.io.label_table import TableColumns
    from ecgtune.io.readers.base import ReadOptions
    from ecgtune.io.records.reading import RecordFiles, RecordSettings

    reading, records, signal = inputs.reading, inputs.records, inputs.signal
    if reading.group is not None:
        raise SettingError("--group is for files of windows; name the column of patients with --patient")
    if reading.drop_invalid:
        raise SettingError("--drop-invalid is for files of windows; see --max-skipped for recordings")
    folder = records.records
    if records.labels_from_headers:
        if folder not in (None, data):
            raise SettingError(
                f"--records {folder}: with --labels-from-headers, DATA is the folder; leave --records out"
            )
        folder = data
    if folder is None:
        raise SettingError("no folder of recordings; give it with --records")
    lead = None if reading.lead is None else (reading.lead,)
    if lead is not None and records.leads is not None:
        raise SettingError(BOTH_LEADS)
    columns = TableColumns(
        recording=records.recording_column,
        patient=records.patient,
        site=records.site,
        label=reading.label,
        labels=reading.labels,
        label_separator=reading.label_separator,
        scp=records.scp,
        missing=reading.missing,
        headers=records.labels_from_headers,
        positive=reading.positive,
        val_file=reading.val_file,
        test_file=reading.test_file,
        fold=records.fold,
        val_fold=records.val_fold,
        test_fold=records.test_fold,
        published=records.published,
    )
    settings = RecordSettings(
        sampling_rate=signal.resample,
        leads=records.leads or lead,
        mains=None if signal.mains is None else float(signal.mains),
        zscore=signal.recording_zscore,
        **{name: getattr(signal, name) for name in ("window", "step", "short", "band", "longest_gap")},
        **{name: getattr(records, name) for name in ("max_skipped", "workers", "match_numbers")},
    )
    return RecordFiles(data, folder, columns, ReadOptions(**given(reading.files)), settings)


def check_exists(*paths: Path | None) -> None:
    """Raise DataError for a path that does not exist, with the name in its folder that is closest."""
    from ecgtune.recipes.recipe import list_recipes

    for path in paths:
        if path is not None and not path.exists():
            beside = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
            close = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.75)
            hint = f"did you mean {path.parent / close[0]}?" if close else "check the path"
            if str(path) in list_recipes():
                hint = "it is a method: DATA comes first, and the method is an option"
            raise DataError(f"{path}: no such file or folder; {hint}")


def _input_of(models: Sequence[str]) -> dict[str, Any]:
    """Rate and resampling of the encoders, when all agree: windows are then made once, from whole recordings.

    Presets of encoders begin at the rate of the recordings.
    """
    from ecgtune.models.loading import input_spec_of

    specs = [input_spec_of(name) for name in dict.fromkeys(models)]
    wanted = {(spec.sampling_rate, spec.resampling) for spec in specs}
    if len(wanted) > 1 or any(spec.presets for spec in specs):
        return {"sampling_rate": None}
    rate, resampling = wanted.pop()
    return {"sampling_rate": rate, "resampling": resampling}
