"""Presets of encoders against the arrays that the authors' own code prepared, and the steps by themselves."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata

from ecgtune.data.leads import STANDARD_LEADS
from ecgtune.data.preprocessing import Preprocessing
from ecgtune.data.signal.steps import (
    STEPS,
    Butterworth,
    Decimate,
    Ranks,
    RunningMedian,
    ScaleLeads,
    ScaleWindow,
    StandardiseLeads,
    WindowedSinc,
    run_steps,
    steps_from_list,
    steps_to_list,
)
from ecgtune.errors import SettingError
from ecgtune.models.ecg_jepa.network import LEADS as EIGHT_LEADS
from ecgtune.models.loading import input_spec_of

RATES = {"r500": 500.0, "r400_flat_aVL": 400.0, "r250": 250.0, "r100": 100.0}
#: Folder, model, preset, and stored arrays with the slice that they are of the prepared window.
CASES = [
    ("ecgfounder", "ecgfounder", "fine-tuning", "finetune_bandpassed_zscored", np.s_[:]),
    ("ecgfounder", "ecgfounder-1lead", "fine-tuning", "finetune_1_lead", np.s_[:]),
    ("ecgfounder", "ecgfounder", "evaluation", "eval_zscored_only", np.s_[:]),
    ("ecgfounder", "ecgfounder", "evaluation", "resample_unequal_after_zscore", np.s_[:, ::3]),
    ("ecgfounder", "ecgfounder", "as-published", "resample_unequal_after_zscore", np.s_[:, ::3]),
    ("ecg_jepa", "ecg-jepa", "fine-tuning", "finetune_filtered[:,::2]", np.s_[:, ::2]),
    ("ecg_jepa", "ecg-jepa", "linear-evaluation", "linear_eval[:,::2]", np.s_[:, ::2]),
    ("hubert_ecg", "hubert-ecg", "as-published", "dataset_item_first_5s", np.s_[:]),
    ("hubert_ecg", "hubert-ecg", "fine-tuning", "decimated_per_lead_instead", np.s_[:]),
]


@pytest.mark.parametrize(("folder", "model", "preset", "array", "part"), CASES)
def test_a_preset_gives_what_the_authors_code_gives(shared: Path, folder, model, preset, array, part):
    spec = input_spec_of(model)
    steps = spec.presets[preset]
    leads = EIGHT_LEADS if folder == "ecg_jepa" else spec.leads
    found = 0
    with np.load(shared / "reference" / "encoders" / folder / "preprocessing.npz") as arrays:
        for name, rate in RATES.items():
            if f"{name}.{array}" not in arrays:
                continue
            found += 1
            window = arrays[f"input.{name}"][[STANDARD_LEADS.index(lead) for lead in leads]][None].astype(np.float64)
            if folder == "hubert_ecg":  # the authors scale whole records and take five seconds of them, in float32
                before = run_steps(steps[:-1], window, rate)[..., :2500].astype(np.float32)
                prepared = steps[-1](before, 500.0)[0].reshape(1, 1, -1)
            else:
                prepared = Preprocessing(spec.sampling_rate, normalisation="none", steps=steps)(window, rate)
            wanted = np.atleast_2d(arrays[f"{name}.{array}"])
            np.testing.assert_allclose(prepared[0][part], wanted, rtol=0, atol=1e-5)
    assert found


@pytest.mark.parametrize("model", ["ecgfounder", "ecg-jepa", "hubert-ecg", "openecg"])
def test_presets_come_back_from_json_and_end_at_the_rate_of_the_model(model):
    spec = input_spec_of(model)
    for steps in spec.presets.values():
        assert steps_from_list(steps_to_list(steps)) == steps
        made = Preprocessing(spec.sampling_rate, normalisation="none", steps=steps)
        assert Preprocessing.from_dict(made.to_dict()) == made
        window = np.random.default_rng(0).standard_normal((1, 2, 3600))
        assert made(window, 360.0).shape[2] == 10 * spec.sampling_rate


def test_the_published_evaluation_of_ecgfounder_changes_the_time_scale():
    presets, window = input_spec_of("ecgfounder").presets, np.zeros((1, 12, 10_000))
    assert run_steps(presets["evaluation"], window, 500.0).shape[2] == 10_000
    assert run_steps(presets["as-published"], window, 500.0).shape[2] == 5000


def test_windows_are_prepared_one_by_one():
    windows = np.random.default_rng(0).standard_normal((3, 2, 2000))
    for model in ("ecgfounder", "ecg-jepa", "hubert-ecg", "openecg"):
        for steps in input_spec_of(model).presets.values():
            together = run_steps(steps, windows, 400.0)
            apart = [run_steps(steps, window[None], 400.0)[0] for window in windows]
            np.testing.assert_allclose(apart, together, atol=1e-12)


@pytest.mark.parametrize(
    ("step", "rate", "message"),
    [
        (
            Butterworth(0.67, 40.0, 4),
            60.0,
            r"cannot keep 0\.67 to 40 Hz of a signal of 60 Hz; .* above 80 Hz",
        ),
        (WindowedSinc(0.05, 47.0), 90.0, r"cannot keep 0\.05 to 47 Hz of a signal of 90 Hz; a rate above 94 Hz"),
    ],
)
def test_a_rate_that_is_too_low_is_refused(step, rate, message):
    with pytest.raises(SettingError, match=message):
        step(np.zeros((1, 1, 900)), rate)


def test_what_single_steps_do():
    windows = np.random.default_rng(0).standard_normal((2, 3, 500)) + 4
    windows[:, 1] = 2.0  # a constant lead
    scaled, _ = ScaleLeads()(windows, 100.0)
    assert (scaled[:, [0, 2]].min(), scaled[:, 1].max()) == (-1, -1)
    standard, _ = StandardiseLeads()(windows, 100.0)
    assert np.abs(standard[:, 0].std(axis=-1) - 1).max() < 1e-6
    assert not standard[:, 1].any()
    whole, _ = ScaleWindow()(windows, 100.0)
    np.testing.assert_allclose([whole.min(axis=(1, 2)), whole.max(axis=(1, 2))], [[0, 0], [1, 1]], atol=1e-6)
    ranks, _ = Ranks()(windows.round(1), 100.0)
    np.testing.assert_allclose(ranks, 2 * (rankdata(windows.round(1), axis=-1) - 1) / 499 - 1)
    assert not ranks[:, 1].any()
    for step in (ScaleWindow(), Ranks()):
        np.testing.assert_allclose(step(1000 * windows + 7, 100.0)[0], step(windows, 100.0)[0], atol=1e-6)
    level, _ = RunningMedian(0.4)(windows, 100.0)
    assert np.abs(np.median(level[:, 1, 30:-30])) == 0
    apart, rate = Decimate(5)(windows, 100.0)
    joined, _ = Decimate(5, leads_in_a_row=True)(windows, 100.0)
    assert rate == 20.0
    assert apart.shape == joined.shape == (2, 3, 100)
    assert np.abs(apart[:, 1] - 2).max() < 0.1 < np.abs(joined[:, 1] - 2).max()
    assert all(not step.scale_free for step in (Butterworth(1, 2, 2), Decimate(5)))
    assert set(STEPS) >= {"Resample", "Notch", "Butterworth"}
