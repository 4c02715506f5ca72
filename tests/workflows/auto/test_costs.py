"""The seconds that are kept and planned follow from what was measured; nothing is trained."""

from types import SimpleNamespace

import pytest

import ecgtune
from ecgtune.config.auto import AutoSettings
from ecgtune.utils.files import write_json
from ecgtune.utils.progress import ProgressBar
from ecgtune.workflows.auto import costs
from ecgtune.workflows.auto.budget import Budget
from ecgtune.workflows.auto.plan_file import read_plan
from helpers.auto import trained

ENCODER, WINDOWS = "ecg-fm-tiny", 96


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    out = tmp_path_factory.mktemp("planned")
    settings = AutoSettings(until="decide", encoders=(ENCODER,), folds=1)
    return ecgtune.auto(ecgtune.simulate(WINDOWS, seed=1, seconds=3), settings, out=out).parent


@pytest.fixture
def made(planned, tmp_path, monkeypatch):
    """A function: the costs where a forward pass takes `forward` seconds, and the machine is slower by other work."""

    def of(forward=1e-3, slowdown=1.0, jobs=1):
        (planned / "do" / "measured.json").unlink(missing_ok=True)
        monkeypatch.setattr(costs, "measured", lambda *_: {"step": 0.03 * forward, "forward": forward})
        with ProgressBar(shown=False) as progress:
            found = costs.Costs(planned, read_plan(planned), Budget(tmp_path, progress), progress, jobs)
        found.budget = SimpleNamespace(slowdown=slowdown, tick=lambda **_: None)
        return found

    return of


def test_the_time_that_is_kept_for_the_last_steps_follows_from_what_was_measured(made):
    one = made()
    quick = one.after(1)
    assert quick < 20
    assert quick + 5 < one.after(3) < 3 * quick
    assert made(slowdown=3.0).after(1) == pytest.approx(3 * quick, rel=0.1)
    passes = (made(forward=1.001).after(1) - quick) / 1.0
    assert WINDOWS < passes < 5 * WINDOWS  # validation, test, novelty, and the exported file with and without torch
    assert made(forward=1e3).reserve == pytest.approx(0.6 * 1800)


def test_the_seconds_of_a_probe_outside_of_its_windows_are_those_of_the_quickest(made):
    before = made()
    assert before.overhead == 2.0
    for windows, outside in ((10, 0.7), (50, 0.9)):
        probe = trained(method="probe", encoder=ENCODER, windows=windows, train_windows=windows)
        spent = before.probing(ENCODER, windows) + outside
        write_json(before.folder / probe["name"] / "round-0" / "result.json", {**probe, "spent": spent})
    assert before.overhead == pytest.approx(0.7)
    assert before.whole("probe", ENCODER) > before.probing(ENCODER, 50)
