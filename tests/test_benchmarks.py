"""Benchmarks run, at sizes that take seconds, and what they take ratios to computes what we compute."""

import importlib
import json
from pathlib import Path

import pytest
import torch

from ecgtune.models.ecg_fm.network import EcgFmConfig

SPEED = Path(__file__).resolve().parents[1] / "benchmarks" / "speed"
TINY = ["--size", "tiny", "--batch", "4", "--samples", "320", "--windows", "8", "--rounds", "1"]


@pytest.fixture
def speed(monkeypatch):
    """The modules of the benchmark by name."""
    monkeypatch.syspath_prepend(str(SPEED))
    return importlib.import_module


@pytest.fixture
def size(speed):
    config = EcgFmConfig(
        width=16, depth=2, heads=2, feed_forward=32, conv_channels=8, conv_layers=4, pos_taps=4, pos_groups=2
    )
    return speed("ways").Size(config, batch=4, samples=320, windows=8, rounds=1, device=torch.device("cpu"))


def test_the_original_computes_what_we_compute(speed, size):
    ways = speed("ways")
    classifier = ways.make_classifier(size)
    original, step = ways.original_step(size, classifier)
    assert ways.largest_difference(size, classifier, original) < 1e-5
    before = original.layers[0].attention.q_proj.weight.detach().clone()
    step()
    assert not torch.equal(before, original.layers[0].attention.q_proj.weight)
    assert ways.largest_difference(size, classifier, original) > 1e-5


def test_the_speed_benchmark_writes_every_row_and_its_table(speed, tmp_path, capsys):
    bench = speed("bench")
    result = bench.main(
        [
            *TINY,
            "--rows",
            "lora",
            "probe",
            "top-layers",
            "inference-bf16",
            "demo",
            "--result",
            str(tmp_path / "speed.json"),
        ]
    )
    kept = json.loads((tmp_path / "speed.json").read_text())
    assert [row["name"] for row in kept["rows"]] == ["lora", "probe", "top-layers", "inference-bf16", "demo"]
    for row in kept["rows"][:4]:
        assert row["ratio"] > 0
        assert row["baseline"]["operations"] > 0
        assert row["baseline"]["seconds"] == max(row["baseline"]["arithmetic"], row["baseline"]["traffic"])
    assert "--first-version" in kept["rows"][4]["note"]
    assert result["weights"] == "random"
    table = speed("page").table(kept)
    assert table in capsys.readouterr().out
    assert "random weights" in table
    assert table.count("\n| ") == 1 + 5


def test_the_floor_counts_products_and_what_is_kept(speed):
    floor = speed("baseline")
    layer = torch.nn.Linear(8, 4, bias=False)
    inputs = torch.randn(16, 8)
    asks = floor.demand(layer, lambda: layer(inputs).sum(), "fp32")
    assert asks.operations == 2 * 2 * 16 * 8 * 4  # forward, and the gradient of the weight
    assert asks.bytes == 2 * 4 * 32 + 2 * inputs.nbytes + floor.ADAM_BYTES * 32
    rates = floor.Rates(bf16=1.0, fp32=2.0, bytes=1e9)
    assert asks.floor(rates)["seconds"] == asks.operations / 2


def test_utilisation_is_counted_operations_over_time_and_measured_rate(speed, tmp_path, capsys):
    script = speed("utilisation")
    file = tmp_path / "utilisation.json"
    words = ["--size", "tiny", "--batch", "4", "--windows", "60", "--result", str(file)]
    result = script.main(words)
    for row in result["rows"]:
        assert row["utilisation"] == row["operations"] / row["seconds"] / result["rates"]["bf16"]
    long, short = (row["operations"] for row in result["rows"])
    assert 3 < long / short < 8  # 156 tokens against 37; those of 12 leads meet a wider first convolution
    steps = -(-script.WINDOWS // 4)
    assert result["rows"][1]["minutes"] > script.EPOCHS * steps * result["rows"][1]["seconds"] / 60
    assert list(json.loads(file.read_text())) == ["cpu"]
    assert speed("page").utilisation({"cpu": result}) in capsys.readouterr().out


def test_memory_is_that_of_the_process_that_takes_the_steps(speed, size):
    bench = speed("bench")
    assert bench.peak_of("ours", size) > 5e7
    assert bench.peak_of("original", size) > 5e7


def test_growth_measures_steps_and_epochs_and_tells_what_a_doubling_costs(speed, size, monkeypatch, tmp_path):
    growth = speed("growth")
    monkeypatch.setattr(growth, "EcgFmConfig", lambda: size.config)
    monkeypatch.setattr(growth, "BATCH", 2)
    monkeypatch.setattr(growth, "OTHERS", 24)
    axis = growth.Axis("samples", "samples per window", (320, 640), ("lora", "probe"))
    rows = growth.measure_steps(axis, rounds=1)
    assert [(row["value"], row["method"]) for row in rows] == [(n, m) for n in (320, 640) for m in ("lora", "probe")]
    kept = {(row["value"], row["method"]): row["bytes"] for row in rows}
    assert 1.7 < kept[640, "lora"] / kept[320, "lora"] < 2.3
    assert kept[640, "probe"] == kept[320, "probe"]
    epoch = growth.epochs("probe", 64)
    assert epoch["seconds"] > 0
    assert epoch["bytes"] > 1e8

    base = {"batch": 2, "leads": 12, "samples": 320, "rank": 2, "depth": 2}
    told = {"machine": {"processor": "one", "threads": 1}, "date": "2026-11-23T", "axes": {axis.name: axis.title}}
    table = speed("page").growth_table(told | {"base": base, "rows": rows})
    assert "| time, memory | samples per window 320 to 640 |" in table
    assert f", {kept[640, 'lora'] / kept[320, 'lora']:.2f}x |" in table
    (figure,) = speed("growth_figure").write_figure(tmp_path / "growth.svg", told | {"rows": rows})
    assert "samples per window" in figure.read_text()
