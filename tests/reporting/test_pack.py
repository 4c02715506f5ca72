"""The reviewer's pack: every number is found again where its link leads, and blanks are where facts end."""

import json
import re
import shutil
import tomllib
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pytest

import ecgtune
from ecgtune import models
from ecgtune.errors import RunError, SettingError
from ecgtune.reporting.pack import checklists
from ecgtune.reporting.pack.checklists import CHECKLISTS, fill, read_checklist
from ecgtune.reporting.pack.documents import template_facts
from ecgtune.reporting.pack.evidence import read_evidence
from ecgtune.reporting.pack.tables import pack_tables
from ecgtune.reporting.pack.tracked import Ledger, Place, follow, plain
from ecgtune.utils import formatting
from ecgtune.utils.csv_cells import read_csv
from helpers.cli import refused, run

DOCUMENTS = ("model-card.md", "methods.md", "tripod-ai.md", "stard-ai.md", "probast-ai.md")
LINK = re.compile(r"\[((?:\\.|[^\[\]\\])+)\]\((facts/[\w.]+)#([^)]*)\)")
#: What has digits and no place: code, headings, counts of the program, citations, the level of intervals, and names; of
#: labels the number of those in a mean, and the sentence on a changed recipe, whose numbers metrics.json has as text.
NO_FACT = re.compile(
    r"(?s:```.*?```)|`[^`\n]*`|^#.*$|^.*: facts fill .*$|^Numbers are those.*$|\[@[^\]]*\]|\b95 % |\bF1\b|sha256"
    r"|\(Apache-2\.0\)|\bbf16\b|^\| Classes \|.*$|^- \w+: ECE|^- Changed from the recipe.*$|mean over \d+ of \d+"
    r"|\b10\.0 % of validation",
    re.MULTILINE,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of a tiny encoder, evaluated on other data with subgroups, and under disturbances."""
    folder = tmp_path_factory.mktemp("pack")
    data = ecgtune.simulate(80, seed=1, seconds=3)
    recipe = ecgtune.recipe("probe", epochs=2, batch_size=16)
    ecgtune.fine_tune(data, recipe, model="ecg-fm-tiny-random", out=folder / "run")
    other = ecgtune.simulate(40, seed=2, seconds=3)
    sex = np.array(["f", "m"] * 20)
    settings = ecgtune.EvaluateSettings(by=("sex",))
    ecgtune.evaluate(folder / "run", other, settings, out=folder / "other", columns={"sex": sex})
    ecgtune.stress(folder / "run", other, ecgtune.StressSettings(only=("gain",)), out=folder / "stress")
    return folder


@pytest.fixture(scope="module")
def pack(trained):
    found = ecgtune.write_pack(
        trained / "run", trained / "pack", evaluation=trained / "other", stress=trained / "stress"
    )
    assert len(found) == 3
    return trained / "pack"


def read(file: Path):
    text = file.read_text(encoding="utf-8")
    return tomllib.loads(text) if file.suffix == ".toml" else json.loads(text)


def equal(shown: str, value, factor: float) -> bool:
    """Whether a text shows a value of a result file, to the digits that it has."""
    if isinstance(value, str):
        return re.sub(r"\\(.)", r"\1", shown).lower() == value.lower()
    number = float(shown.replace(",", ""))
    value = (len(value) if isinstance(value, list) else value) * factor
    mantissa, _, exponent = shown.replace(",", "").partition("e")
    digits = len(mantissa.partition(".")[2])
    return abs(number - value) <= 0.5000001 * 10.0 ** (int(exponent or 0) - digits)


def broken(folder: Path) -> list[str]:
    """Links of the documents and rows of numbers.csv that lead to no value, or to another one."""
    wrong = []
    rows = read_csv(folder / "numbers.csv")
    factors = {(row["document"], row["shown"], row["file"], row["key"]): float(row["factor"]) for row in rows}
    links = [(row["document"], row["shown"], row["file"], row["key"]) for row in rows]
    for name in DOCUMENTS:
        found = LINK.findall((folder / name).read_text(encoding="utf-8"))
        assert len(found) > 20
        links += [(name, shown, file, unquote(key)) for shown, file, key in found]
    for document, shown, file, key in links:
        try:
            value = follow(read(folder / file), key)
        except (KeyError, IndexError, ValueError):
            wrong.append(f"{document}: {file}#{key} is missing")
            continue
        factor = factors.get((document, shown, file, key))
        if factor is None or not equal(shown, value, factor):
            wrong.append(f"{document}: {shown} is not {value}")
    return wrong


def test_every_link_leads_to_the_number(pack, tmp_path):
    assert broken(pack) == []
    # The check itself finds a number that differs, and a key that is gone.
    copy = shutil.copytree(pack, tmp_path / "copy")
    metrics = read(copy / "facts/metrics.json")
    metrics["window"]["metrics"]["auroc"]["value"] += 0.01
    del metrics["training"]["batch_size"]
    (copy / "facts/metrics.json").write_text(json.dumps(metrics))
    found = " ".join(broken(copy))
    assert "is not" in found
    assert "/training/batch_size is missing" in found


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_number_is_typed(pack, name):
    text = LINK.sub("", (pack / name).read_text(encoding="utf-8"))
    left = [line for line in NO_FACT.sub("", text).splitlines() if re.search(r"\d", line)]
    assert left == []
    assert len(NO_FACT.sub("", text)) > 0.3 * len(text)  # the expression takes out no whole document


def test_copies_are_those_of_the_run(pack, trained):
    for copy, source in (("metrics.json", "run/metrics.json"), ("recipe.toml", "run/recipe.toml")):
        assert (pack / "facts" / copy).read_bytes() == (trained / source).read_bytes()
    assert {file.name for file in (pack / "facts").iterdir()} >= {"external.json", "stress.json", "model.json"}
    assert not any(file.name in ("predictions.csv", "split.csv") for file in pack.rglob("*"))


@pytest.mark.parametrize("with_results", [True, False])
@pytest.mark.parametrize("name", CHECKLISTS)
def test_most_items_have_facts(trained, name, with_results):
    folders = (trained / "other", trained / "stress") if with_results else (None, None)
    evidence = read_evidence(trained / "run", *folders)
    filled = fill(name, template_facts(evidence), evidence.ledger)
    counts = filled.counts()
    assert counts["main_facts"] >= 0.6 * counts["main"]
    assert counts["complete"] + counts["with_person"] + counts["blank"] == counts["items"] == len(filled.answers)
    assert all(answer.person for answer in filled.answers if not answer.sentences)
    assert counts["main"] == {"tripod-ai": 27, "probast-ai": 34}.get(name, counts["main"])
    numbers = [answer.number for answer in filled.answers]
    assert len(set(numbers)) == len(numbers)


def test_results_on_other_data_fill_their_items(trained):
    def numbers(*folders) -> set[str]:
        evidence = read_evidence(trained / "run", *folders)
        filled = fill("tripod-ai", template_facts(evidence), evidence.ledger)
        return {answer.number for answer in filled.answers if answer.sentences}

    assert numbers(trained / "other") - numbers() == {"14", "20c", "23b", "24"}


def test_blanks_are_marked(pack):
    text = (pack / "tripod-ai.md").read_text(encoding="utf-8")
    ethics = text[text.index("## 17 ") : text.index("## 18a ")]
    assert "**To be completed by a person**: ______" in ethics
    assert not LINK.search(ethics)
    listed = dict(re.findall(r"\| \[([\w.-]+)\]\(\1\) \| (\d+) \|", (pack / "README.md").read_text(encoding="utf-8")))
    assert {name: (pack / name).read_text(encoding="utf-8").count("______") for name in DOCUMENTS} == {
        name: int(count) for name, count in listed.items()
    }


def test_methods_have_every_setting_and_citations_exist(pack, trained):
    text = (pack / "methods.md").read_text(encoding="utf-8")
    settings = formatting.flat(read(trained / "run/recipe.toml"))
    assert all(f"| `{name}` |" in text for name in settings)
    cited = set(re.findall(r"@([a-z]+\d+[a-z]*)", "".join((pack / name).read_text("utf-8") for name in DOCUMENTS)))
    known = set(re.findall(r"^@\w+\{([^,]+),", (pack / "references.bib").read_text("utf-8"), re.MULTILINE))
    assert cited == known
    assert {"mckeen2024", "alain2016", "loshchilov2019", "efron1993"} <= known


def test_every_citation_of_the_data_has_an_entry():
    entries = set(re.findall(r"^@\w+\{([^,]+),", _data("citations.bib"), re.MULTILINE))
    cited = set(re.findall(r"@([a-z]+\d+[a-z]*)", _data("methods.toml")))
    data = read_checklist("methods")
    for table in ("method_cites", "calibration_cites", "novelty_cites"):
        cited |= set(data[table].values())
    assert cited <= entries
    folders = {path.parent.name for path in Path(models.__path__[0]).glob("*/models.toml")}
    without = {name for name in folders if not (Path(models.__path__[0]) / name / "citation.bib").is_file()}
    assert without == {"openecg"}  # no paper is known; the pack has a blank


def _data(name: str) -> str:
    return (Path(ecgtune.__file__).parent / "reporting/pack" / name).read_text(encoding="utf-8")


def test_means_over_classes_are_called_macro_in_tables():
    counts = {name: {"windows": 3, "groups": None} for name in ("train", "val", "test")}
    metrics = {"task": "multiclass", "window": {"metrics": dict.fromkeys(("accuracy", "f1"))}, "group": {"reason": ""}}
    metrics["split"] = {"counts": counts, "unit": "row"}
    facts = {"calibration": None, "external": None, "stress": None, "recipe": {}}
    table = pack_tables(SimpleNamespace(run=SimpleNamespace(metrics=metrics), facts=facts))[0]
    assert [row[0] for row in table.rows] == ["Accuracy", "Macro F1"]


def test_tables_agree_with_the_run_and_each_other(pack, trained):
    names = {file.stem for file in (pack / "tables").glob("*.csv")}
    assert names == {"performance", "data", "calibration", "settings", "external", "subgroups", "stress"}
    metrics = read(trained / "run/metrics.json")["window"]["metrics"]
    rows = {row["Metric"]: row for row in read_csv(pack / "tables/performance.csv")}
    tex = (pack / "tables/performance.tex").read_text(encoding="utf-8")
    for title, name in (("AUROC", "auroc"), ("Accuracy", "accuracy")):
        assert float(rows[title]["Windows"]) == pytest.approx(metrics[name]["value"])
        assert float(rows[title]["Windows_ci_high"]) == pytest.approx(metrics[name]["ci_high"])
        assert f"facts/metrics.json#/window/metrics/{name}/ci_low" in rows[title]["source"]
        assert f"{title} & {metrics[name]['value']:.3f} ({metrics[name]['ci_low']:.3f} to" in tex
    assert tex.count(r"\begin{") == tex.count(r"\end{") == 2


def test_figures_are_svg_and_pdf(pack):
    for name in ("confusion", "curves", "reliability", "net-benefit", "stress"):
        assert (pack / f"figures/{name}.svg").read_text(encoding="utf-8").lstrip().startswith("<?xml")
        assert (pack / f"figures/{name}.pdf").read_bytes().startswith(b"%PDF")


def test_croissant_is_valid(pack):
    croissant = pytest.importorskip("mlcroissant", reason="pip install ecgtune[dev] installs mlcroissant")
    found = croissant.Dataset(jsonld=str(pack / "croissant.json")).metadata
    assert {file.sha256 for file in found.distribution} >= {read(pack / "facts/metrics.json")["data"]["sha256"]}
    assert [field.name for field in found.record_sets[0].fields] == ["windows/row", "windows/split"]
    broken = read(pack / "croissant.json")
    del broken["distribution"][1]["contentUrl"]
    with pytest.raises(croissant.ValidationError):
        croissant.Dataset(jsonld=broken)


def test_command(trained, tmp_path, capsys):
    run("report", trained / "run", "--pack", tmp_path / "pack")
    text = capsys.readouterr().out
    assert re.search(r"TRIPOD\+AI draft: facts fill \d+ of 27 items \(\d+ of 52 with their parts\)", text)
    assert (tmp_path / "pack/README.md").is_file()
    assert "has files" in refused(capsys, "report", trained / "run", "--pack", tmp_path / "pack")


def test_what_is_refused(trained, tmp_path, make_comparison):
    with pytest.raises(RunError, match=r"has no external.json; give a folder that 'ecgtune evaluate' wrote"):
        ecgtune.write_pack(trained / "run", tmp_path / "pack", evaluation=trained / "stress")
    other = shutil.copytree(trained / "other", tmp_path / "other")
    content = read(other / "external.json") | {"run": "test accuracy: 0.1"}
    (other / "external.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"external.json is not of .*run; run 'ecgtune evaluate"):
        ecgtune.write_pack(trained / "run", tmp_path / "pack", evaluation=other)
    (tmp_path / "comparison").mkdir()
    results = make_comparison(tmp_path / "comparison", names=("probe",))
    (tmp_path / "comparison/results.json").write_text(json.dumps(results))
    with pytest.raises(RunError, match=r"holds a comparison; give one of its runs, such as .*probe/seed-0"):
        ecgtune.write_pack(tmp_path / "comparison", tmp_path / "pack")
    (tmp_path / "comparison/results.json").write_text("[1]")
    with pytest.raises(RunError, match="json: the content is a list; a table is needed"):
        ecgtune.write_pack(tmp_path / "comparison", tmp_path / "pack")
    content = read(trained / "other" / "external.json")
    (other / "external.json").write_text(json.dumps({"run": content["run"]}))
    with pytest.raises(RunError, match="json: run_classes is missing"):
        ecgtune.write_pack(trained / "run", tmp_path / "pack", evaluation=other)
    with pytest.raises(SettingError, match="has files"):
        ecgtune.write_pack(trained / "run", tmp_path / "other")
    assert not (tmp_path / "pack").exists()


def test_texts_of_files_are_escaped(trained, tmp_path):
    copy = shutil.copytree(trained / "run", tmp_path / "run")
    metrics = read(copy / "metrics.json")
    metrics["classes"] = ["*other*", "AF_1 | \ue0000\ue001x\ue002"]
    metrics["positive"]["class"] = metrics["classes"][1]
    (copy / "metrics.json").write_text(json.dumps(metrics))
    fitted = read(copy / "calibration.json")
    for side in filter(None, (fitted["before"], fitted["after"])):
        side["each"] = {f"<script>`{name}": entry for name, entry in side["each"].items()}
    (copy / "calibration.json").write_text(json.dumps(fitted))
    ecgtune.write_pack(copy, tmp_path / "pack")
    assert not any("<script>" in file.read_text(encoding="utf-8") for file in (tmp_path / "pack").glob("*.md"))
    text = (tmp_path / "pack/tripod-ai.md").read_text(encoding="utf-8")
    assert r"\*other\*" in text
    assert r"[AF\_1 \|" in text
    assert not re.search("[\ue000-\ue002]", text)


@pytest.mark.parametrize("name", [*CHECKLISTS, "methods"])
def test_names_and_sentences_pass_a_filter(name):
    """Tracked values are escaped where they are shown; names of entries and sentences made of texts are plain."""
    text = (Path(checklists.__file__).parent / f"{name}.toml").read_text(encoding="utf-8")
    bare = re.findall(r"\{\{ *(\w+(?:\[\w+\])?) *\}\}", text)
    assert [each for each in bare if not each.endswith("_cite") and not each.startswith("method_cites")] == []


@pytest.mark.parametrize(
    ("text", "value", "factor"),
    [("12.34", 0.1234, 100), ("1,200", 1200, 1), ("1.2 kB", 1200, 0.001), ("2.0 min", 120, 1 / 60), ("3", 3, 1)],
)
def test_places_survive_formats(text, value, factor):
    ledger = Ledger()
    own = ledger.track({"a/b": value}, Place("file.json", ""))["a/b"]
    formats = {"12.34": formatting.percent, "1.2 kB": formatting.size, "2.0 min": formatting.duration}
    marked = f"before {formats.get(text, formatting.count)(own)} behind"
    assert plain(marked) == f"before {text} behind"
    (shown,) = ledger.in_text(marked)
    assert (str(shown.place), shown.factor) == ("file.json#/a~1b", pytest.approx(factor))
    assert own == value
