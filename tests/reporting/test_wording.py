"""The answer in words: right, and no bolder than the numbers."""

import copy

import pytest

from ecgtune.reporting.wording import checkpoint_epoch, comparison_headline, run_headline, weights_banner


def entry(mean, low=None, high=None):
    return {
        "mean": mean,
        "ci_low": mean - 0.02 if low is None else low,
        "ci_high": mean + 0.02 if high is None else high,
    }


def row(name, accuracy, difference=(0.0, 0.0, 0.0), kind="method", auroc=None, seeds=(0, 1)):
    value, low, high = difference
    return {
        "method": name,
        "title": name.upper(),
        "kind": kind,
        "seeds": list(seeds),
        "metrics": {"accuracy": entry(accuracy), "auroc": entry(auroc or accuracy)},
        "difference": {"accuracy": {"value": value, "ci_low": low, "ci_high": high}},
    }


def headline(*rows, reference="full"):
    return " ".join(comparison_headline({"rows": rows, "reference": reference, "split": {"unit": "record"}}))


CASES = {
    "best above the reference, apart": (
        [row("full", 0.80), row("lora", 0.84, (0.04, 0.01, 0.07))],
        ["LORA has the highest accuracy of 2 methods", "0.040 above FULL", "+0.010 to +0.070", "does not include 0"],
        ["includes 0"],
    ),
    "best above the reference, not apart": (
        [row("full", 0.80), row("lora", 0.81, (0.01, -0.01, 0.03))],
        ["0.010 above FULL", "-0.010 to +0.030", "includes 0: this test split cannot separate the two"],
        ["does not include"],
    ),
    "reference best, sign turned": (
        [row("full", 0.84), row("lora", 0.80, (-0.04, -0.07, -0.01)), row("probe", 0.70, (-0.14, -0.2, -0.1))],
        ["FULL has the highest accuracy", "LORA is second, 0.040 lower", "+0.010 to +0.070", "does not include 0"],
        [],
    ),
    "tie": (
        [row("full", 0.80), row("lora", 0.80, (0.0, -0.02, 0.03))],
        [
            "FULL and LORA share the highest accuracy",
            "FULL and LORA do not differ",
            "-0.030 to +0.020",
        ],
        [],
    ),
    "one seed": ([row("full", 0.8, seeds=[0])], ["FULL reaches an accuracy of 0.800", "one seed"], ["highest"]),
    "other order by AUROC": (
        [row("full", 0.84, auroc=0.90), row("lora", 0.80, (-0.04, -0.07, -0.01), auroc=0.91)],
        ["By AUROC the ranking differs: LORA is first with 0.910"],
        [],
    ),
    "baselines below": (
        [row("full", 0.84), row("majority", 0.5, kind="baseline")],
        ["Baselines: MAJORITY 0.500."],
        ["includes the score"],
    ),
    "baseline inside the interval": (
        [row("full", 0.84), row("resnet", 0.83, kind="baseline")],
        ["includes the score of RESNET: no method is clearly better"],
        ["No method reaches"],
    ),
    "baseline above every method": (
        [row("full", 0.84), row("resnet", 0.90, kind="baseline")],
        ["No method reaches RESNET."],
        ["includes the score"],
    ),
}


@pytest.mark.parametrize(("rows", "said", "unsaid"), CASES.values(), ids=CASES)
def test_headline(rows, said, unsaid):
    text = headline(*rows)
    for part in said:
        assert part in text
    for part in [*unsaid, "significan", "proves", "{"]:
        assert part not in text


def test_a_baseline_is_never_the_best_method():
    assert headline(row("full", 0.6), row("resnet", 0.9, kind="baseline")).startswith("FULL reaches")


def test_without_reference_no_difference_is_told():
    rows = [copy.deepcopy(row(name, value)) for name, value in (("lora", 0.8), ("probe", 0.7))]
    for one in rows:
        one["difference"] = None
    text = headline(*rows, reference=None)
    assert "LORA has the highest" in text
    assert "paired" not in text


def test_titles_with_commas_are_quoted():
    commas = row("full", 0.8) | {"title": "LoRA, wide"}
    assert headline(commas).startswith('"LoRA, wide" reaches')


def test_banner_only_for_random_weights():
    assert "not pretrained" in weights_banner("random (seed 0)")
    assert weights_banner("pretrained (sha256 ab)") is None


@pytest.mark.parametrize(
    ("training", "told"),
    [
        ({"best_epoch": 3, "checkpoint_metric": "auroc"}, "3 (highest validation AUROC)"),
        ({"best_epoch": 3, "checkpoint_metric": "loss"}, "3 (lowest validation loss)"),
        ({"best_epoch": 8, "checkpoint_metric": "last"}, "8 (last epoch)"),
        ({"best_epoch": None}, "n/a"),
    ],
)
def test_the_checkpoint_epoch_says_why(training, told):
    assert checkpoint_epoch(training) == told


def test_run_headline(make_run, tmp_path):
    grouped = run_headline(make_run(tmp_path / "a", "lora", 0, "random (seed 0)"))
    assert "On 240 test windows: accuracy 0." in grouped
    assert "Per record (mean probability, 40 records)" in grouped
    assert "Per" not in run_headline(make_run(tmp_path / "b", "lora", 0, "random (seed 0)", grouped=False))
