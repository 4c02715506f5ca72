"""Benchmarks run at sizes that take seconds, and docs/performance.md holds the tables of their results."""

import importlib
import json
from pathlib import Path

import pytest
import torch

from ecgtune.models.ecg_fm.network import EcgFmConfig
from helpers.methods import slow

ROOT = Path(__file__).resolve().parents[1]
EMULATION = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


@pytest.fixture
def script(monkeypatch):
    """The modules of the benchmarks by name."""
    for folder in ("benchmarks", "benchmarks/speed"):
        monkeypatch.syspath_prepend(str(ROOT / folder))
    return importlib.import_module


@pytest.fixture
def size(script):
    config = EcgFmConfig(
        width=16, depth=2, heads=2, feed_forward=32, conv_channels=8, conv_layers=4, pos_taps=4, pos_groups=2
    )
    return script("ways").Size(config, batch=4, samples=320, windows=8, device=torch.device("cpu"))


def test_the_page_holds_the_tables_of_the_results(script):
    page = (ROOT / "docs" / "performance.md").read_text("utf-8")
    pages = script("pages")
    for name, text in pages.contents().items():
        assert f"<!-- {name} -->\n{text}<!-- end of {name} -->" in page, f"run python benchmarks/pages.py for {name}"
    results = (pages.RESULTS / "README.md").read_text("utf-8")
    assert f"<!-- trained -->\n{pages.trained()}<!-- end of trained -->" in results
    normalisation = script("normalisation")
    text = normalisation.table(json.loads(normalisation.RESULT.read_text()))
    assert f"<!-- normalisation -->\n{text}<!-- end of normalisation -->" in normalisation.PAGE.read_text("utf-8")


def test_the_table_of_auto_names_the_best_method_by_hand(script):
    rows = [
        {"task": "t", "budget": "10min", "machine": machine, "method": method, "auroc": auroc, "seconds": "60"}
        for machine, method, auroc in (
            ("a", "auto: lora x 1", "0.9"),
            ("a", "probe", "0.8"),
            ("a", "full", "0.91"),
            ("b", "full", "0.99"),  # of another machine, which had more time for it
        )
    ]
    lines = script("auto").table(rows).splitlines()
    assert len(lines) == 3
    assert lines[-1].endswith("| full | 0.91 | -0.0100 |")


def test_the_original_computes_what_we_compute(script, size):
    ways, classifier = script("ways"), script("encoders").classifier(size.config)
    original, step = ways.original_step(size, classifier)
    assert ways.largest_difference(size, classifier, original) < 1e-5
    before = original.layers[0].attention.q_proj.weight.detach().clone()
    step()
    assert not torch.equal(before, original.layers[0].attention.q_proj.weight)
    assert ways.largest_difference(size, classifier, original) > 1e-5


@pytest.mark.parametrize("limited", [True, *slow(False)])
def test_the_speed_benchmark_leaves_out_formats_that_the_processor_lacks(script, limited, tmp_path, monkeypatch):
    for name, value in EMULATION.items() if limited else ():
        monkeypatch.setenv(name, value)
    bench, lacks = script("bench"), script("machines").lacks
    sizes = ["--size", "tiny", "--batch", "4", "--samples", "320", "--windows", "8", "--rounds", "1"]
    result = bench.main([*sizes, "--rows", "lora", "probe", "inference", "--result", str(tmp_path / "speed.json")])
    assert result == json.loads((tmp_path / "speed.json").read_text())
    done = {(row["name"], row["precision"]) for row in result["rows"]}
    assert {("lora", "fp32"), ("inference", "fp32")} <= done
    for precision in ("bf16", "int8"):
        assert (("inference", precision) in done) == (lacks(precision) is None)
        assert result["left_out"].get(f"inference-{precision}") == lacks(precision)
    if limited:
        assert result["kind"] == "avx2"
        assert result["emulated"] == EMULATION
        assert lacks("bf16")
        assert lacks("int8")
        assert "AVX2 instructions (emulated)" in bench.table(result)
    for row in result["rows"]:
        assert row["ratio"] > 0
        if "bound" in row:
            assert row["bound"]["seconds"] == max(row["bound"]["arithmetic"], row["bound"]["traffic"])


def test_the_bound_counts_products_and_kept_activations(script):
    roofline = script("roofline")
    layer, inputs = torch.nn.Linear(8, 4, bias=False), torch.randn(16, 8)
    asks = roofline.demand(layer, lambda: layer(inputs).sum(), "fp32")
    assert asks.operations == 2 * 2 * 16 * 8 * 4  # forward, and the gradient of the weight
    assert asks.bytes == 2 * 4 * 32 + 2 * inputs.nbytes + roofline.ADAM_BYTES * 32
    assert asks.bound(roofline.Rates({"fp32": 2.0}, bytes=1e9))["seconds"] == asks.operations / 2


def test_growth_measures_steps_of_each_size(script, size, monkeypatch):
    growth = script("growth")
    monkeypatch.setattr(growth, "EcgFmConfig", lambda: size.config)
    monkeypatch.setattr(growth, "BATCH", 2)
    axis = growth.Axis("samples", "samples per window", (320, 640), ("lora", "probe"))
    rows = growth.measure(axis, rounds=1, precision="fp32")
    kept = {(row["value"], row["method"]): row["bytes"] for row in rows}
    assert list(kept) == [(n, m) for n in (320, 640) for m in ("lora", "probe")]
    assert 1.7 < kept[640, "lora"] / kept[320, "lora"] < 2.3
    assert kept[640, "probe"] == kept[320, "probe"]


def test_a_micro_benchmark_replaces_its_own_row_alone(script, tmp_path, monkeypatch):
    micro, file = script("micro"), tmp_path / "micro.json"
    cases = [micro.Case(name, "here", lambda _: (lambda: None, lambda: None), ("fp32",)) for name in ("one", "two")]
    monkeypatch.setattr(micro, "CASES", tuple(cases))
    monkeypatch.setattr(micro, "CHANGES", ("one", "two"))
    other = {"change": "two", "where": "here", "precision": "fp32"}
    file.write_text(json.dumps({"rows": [other, other | {"change": "one"}]}))
    micro.main(["--changes", "one", "--rounds", "1", "--result", str(file)])
    first, second = json.loads(file.read_text())["rows"]
    assert (first["change"], second) == ("one", other)
    assert first["ratio"] > 0


def test_startup_counts_processor_seconds_and_heavy_modules(script, tmp_path):
    startup = script("startup")
    spent, modules = startup.measure(["--help"], tmp_path)
    assert 0 < spent < 60
    assert "torch" not in modules
    with pytest.raises(RuntimeError, match="ended with status 2"):
        startup.measure(["predict", "no-such-run", "no-such-file"], tmp_path)


def exported(title, bytes_, milliseconds, changed, rates):
    """A part of the result of benchmarks/export.py. changed: fraction of decisions, with the exact kernels."""

    def kernel(fraction):
        auroc = {"before": 0.9, "after": 0.899}
        counts = {"largest_difference": 1e-6, "changed_decisions": int(1000 * fraction), "changed_fraction": fraction}
        return counts | {"auroc": auroc, "recordings": None}

    process = {"elapsed": 1.0, "seconds": 0.6, "bytes": 120e6, "torch": False}
    seconds = {"torch": 0.02, "onnxruntime": milliseconds / 1000}
    made = {"bytes": bytes_, "seconds": seconds, "process": process, "windows": ""}
    return {
        "title": title,
        "formats": {
            "float32": made | {"weights": "float32", "kernels": {"usual": kernel(0.0)}},
            "int8": made | {"weights": "dynamic-7", "kernels": {"usual": kernel(0.0), "exact": kernel(changed)}},
        },
        "records_per_second": rates,
        "operations": 3e10,
        "product": 1.5e11,
        "torch": {"bytes": 8e6, "process": process | {"torch": True}},
    }


def test_the_table_of_exports_says_what_is_reached(script):
    export = script("export")
    rates = {"torch": 4.0, "float32": 4.4, "int8": 11.0}
    result = {
        "machine": {"processor": "Some CPU", "threads": 1},
        "date": "2026-11-29",
        "embedded": exported("ecg-fm-tiny, LoRA", 3e6, 4.0, 0.001, rates),
        "full": exported("full", 9e7, 90.0, 0.01, rates),
        "stream": [{"recordings": 1000, "seconds": 10.0, "bytes": 2e8, "own_bytes": 1e8}],
    }
    reached = [row[-1] for row in export.requirements(result)]
    assert reached == [True, True, True, False, True, True, False, True]
    text = export.table(result)
    assert text.count("**no**") == 2
    assert "150 GFLOP/s with torch on this core; ECG-FM's size reaches 120 with torch, 132 with" in text
    assert "float32 could be at most 1.25x as fast as torch" in text
    assert "| 1,000 | 10.0 s | 100 |" in text
