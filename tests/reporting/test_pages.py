"""report.html: complete, self-contained, escaped, accessible."""

import copy
import json
import re
from collections import Counter
from html.parser import HTMLParser
from importlib.resources import files
from shutil import copytree

import pytest

import ecgtune
from ecgtune.errors import RunError
from ecgtune.reporting.folders import read_comparison
from ecgtune.reporting.pages import inline_figure, shown_folder
from ecgtune.reporting.writing import write_comparison, write_pretraining, write_run

VOID = {"meta", "br", "link", "img", "hr", "input"}


class Page(HTMLParser):
    """Tags with their attributes; fails on tags that do not close in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def of(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(written):
    return Page((written / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def run_page(written):
    return Page(write_run(written / "lora" / "seed-0").read_text(encoding="utf-8"))


def check_self_contained(page):
    for tag, attrs in page.tags:
        for name in ("src", "href", "xlink:href", "data", "action"):
            value = attrs.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
    style = " ".join(page.words)
    assert "@import" not in style
    assert not re.search(r"url\((?!#)", style)
    assert not page.of("link")


def check_accessible(page):
    ids = Counter(attrs["id"] for _tag, attrs in page.tags if "id" in attrs)
    assert [name for name, times in ids.items() if times > 1] == []
    targets = {attrs["href"][1:] for attrs in page.of("a")}
    assert targets <= set(ids)
    assert all(attrs.get("scope") in ("row", "col") for attrs in page.of("th"))
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in page.of("svg"))
    assert page.of("html")[0]["lang"] == "en"
    assert any(attrs.get("name") == "viewport" for attrs in page.of("meta"))


def test_pages_are_self_contained(page, run_page):
    check_self_contained(page)
    check_self_contained(run_page)


def test_pages_are_accessible(page, run_page):
    check_accessible(page)
    check_accessible(run_page)


def test_identifiers_inside_figures_still_resolve(page):
    ids = {attrs["id"] for _tag, attrs in page.tags if "id" in attrs}
    used = {attrs["xlink:href"][1:] for attrs in page.of("use")}
    used |= {attrs["clip-path"][5:-1] for _tag, attrs in page.tags if "clip-path" in attrs}
    assert used
    assert used <= ids


def test_comparison_page_is_complete(page, results):
    text = " ".join(" ".join(page.words).split())
    assert len(page.of("svg")) == 11
    assert all(svg.get("aria-label") for svg in page.of("svg"))
    assert "The encoder was not pretrained" in text
    assert "has the highest accuracy of 4 methods" in text
    for row in results["rows"]:
        assert f"{row['metrics']['auroc']['mean']:.3f}" in text
    for part in (
        "Decision threshold: 0.5, fixed",
        "Per record",
        "all 88 tensors of the encoder accounted for",
        "840",
        'ecgtune.load_run("first/full/seed-0")',
        results["command"],
        "versions.torch",
        "0123456789abcdef",
        "(stopped early)",
    ):
        assert part in text


def test_run_page_is_complete(run_page):
    text = " ".join(" ".join(run_page.words).split())
    for part in ("lora, seed 0", "Per record (40)", "Threshold".lower(), "batch_size = 64", "2.13.0", "MCC"):
        assert part in text
    assert len(run_page.of("svg")) == 2


def test_page_of_a_run_without_training(written):
    page = Page(write_run(written / "majority" / "seed-0").read_text(encoding="utf-8"))
    assert len(page.of("svg")) == 1
    assert "n/a" in " ".join(page.words)


def test_pretrained_split_by_row(make_comparison, tmp_path):
    results = make_comparison(tmp_path / "x", "pretrained (sha256 ab)", ("lora", "probe"), grouped=False)
    page = Page(write_comparison(tmp_path / "x", results).read_text(encoding="utf-8"))
    text = " ".join(" ".join(page.words).split())
    assert "not pretrained" not in text
    assert "Split by row: windows of one person may stand on both sides." in text
    assert "weights: pretrained (sha256 ab)" in text
    assert "Per record" not in text
    assert "Δ" not in text
    assert len(page.of("svg")) == 6


def test_a_figure_that_is_more_than_shapes_is_refused(tmp_path):
    (tmp_path / "stress.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>')
    with pytest.raises(RunError, match="it holds more than shapes"):
        inline_figure(tmp_path, "stress", "A figure")


@pytest.mark.parametrize("part", ["<!--", "<metadata>", "<!---->", "<metadata></metadata>"])
def test_a_figure_is_read_in_time_proportional_to_its_size(tmp_path, part):
    (tmp_path / "a.svg").write_text("<svg>" + part * 200_000 + "</svg>")
    if part in ("<!--", "<metadata>"):
        with pytest.raises(RunError, match="it holds more than shapes"):
            inline_figure(tmp_path, "a", "A figure")
    else:
        assert inline_figure(tmp_path, "a", "A figure") == '<svg role="img" aria-label="A figure"></svg>'


def test_what_users_wrote_is_escaped(make_comparison, tmp_path):
    results = copy.deepcopy(make_comparison(tmp_path / "x", names=("full", "lora")))
    evil = '<script>alert("x")</script>'
    results["rows"][0]["title"] = evil
    results["data"]["path"] = results["command"] = evil
    results["notes"].append(evil)
    text = write_comparison(tmp_path / "x", results).read_text(encoding="utf-8")
    assert evil not in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    check_self_contained(Page(text))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (
            "teacher",
            ["teacher, seed 0", "Objective: masked teacher (data2vec 2)", "decay_start 0.98", "time stretch up to 10%",
             "Teacher passed:", "they may rise", "float16/"],
        ),
        (
            "contrastive",
            ["Objective: contrastive (wav2vec 2.0 and CMSC)", "feature_grad_mult 0.1", "Codes passed:",
             "Masked accuracy"],
        ),
        ("rhythm-alone", ["Not computed, 0 in every epoch: Masked prediction", "rhythm 1.0", "Targets passed:"]),
    ],
)  # fmt: skip
def test_pretraining_page_is_complete(pretrained, name, parts):
    page = Page((pretrained / name / "report.html").read_text(encoding="utf-8"))
    check_self_contained(page)
    check_accessible(page)
    assert len(page.of("svg")) == 1
    text = " ".join(" ".join(page.words).split())
    run = pretrained / name
    metrics = json.loads((run / "metrics.json").read_text())
    for part in (
        *parts,
        f"Parameters {metrics['parameters']:,}",
        "One token 8 samples, 80 ms",
        metrics["data"]["sha256"],
        "Training 8",
        "Left out by name 2",
        "All 12",
        f"Crops per epoch {metrics['data']['crops_per_epoch']}",
        f"Crops seen {3 * metrics['data']['crops_per_epoch']}",
        "Device cpu, fp32",
        f"ecgtune compare windows.csv --sampling-rate 100 --model {name}/best",
        json.loads((run / "best" / "model.json").read_text())["sha256"],
        "versions.torch",
        "batch_size = ",
    ):
        assert part in text, part


@pytest.mark.parametrize(
    ("command", "said"),
    [("python", "Called from Python"), ("ecgtune pretrain recordings.npz", "ecgtune pretrain recordings.npz")],
)
def test_a_pretraining_says_how_it_was_called(pretrained, tmp_path, command, said):
    run = copytree(pretrained / "teacher", tmp_path / "run")
    environment = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps(environment | {"command": command}))
    for text in (write_pretraining(run).read_text(encoding="utf-8"), (run / "README.md").read_text(encoding="utf-8")):
        assert said in text
        assert ("Called from Python" in text) == (command == "python")


def test_a_report_of_a_pretraining_is_written_again(pretrained, tmp_path):
    run = copytree(pretrained / "teacher", tmp_path / "run")
    (run / "report.html").unlink()
    (run / "README.md").write_text("filled in")
    assert ecgtune.write_report(run) == (run / "report.html", None)
    assert "Objective: masked teacher" in (run / "report.html").read_text(encoding="utf-8")
    assert (run / "README.md").read_text() == "filled in"


def test_what_users_wrote_about_a_pretraining_is_escaped(pretrained, tmp_path):
    run = copytree(pretrained / "teacher", tmp_path / "run")
    evil = '<script>alert("x")</script>'
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["name"] = metrics["data"]["path"] = evil
    (run / "metrics.json").write_text(json.dumps(metrics))
    text = write_pretraining(run).read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_a_folder_without_a_comparison_is_one_line(tmp_path):
    with pytest.raises(RunError, match=r"has no results.json"):
        read_comparison(tmp_path)


def test_folder_is_shown_as_it_would_be_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shown_folder(tmp_path / "runs" / "first") == "runs/first"
    assert shown_folder(tmp_path.parent / "other") == "other"


def test_templates_are_package_data():
    folder = files("ecgtune.reporting") / "templates"
    assert {"base.html.j2", "comparison.html.j2", "run.html.j2", "style.css", "model-card.md.j2", "pretraining.html.j2",
            "pretraining-card.md.j2"} <= {entry.name for entry in folder.iterdir()}  # fmt: skip
