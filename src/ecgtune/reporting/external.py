"""An evaluation on another data set as tables of Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ecgtune.reporting.calibration import TITLES
from ecgtune.reporting.certainty import promise_sentence
from ecgtune.reporting.tables import escape_markdown, markdown_table
from ecgtune.reporting.wording import metric_titles
from ecgtune.utils import formatting

Entry = Mapping[str, Any]
#: Distance of the mean probability on validation from the prevalence there, above which a shift is warned of.
BIAS = 0.02


def comparison_rows(result: Entry, unit: str) -> list[list[str]]:
    """Title, internal, external and difference of each metric, then of each label, then measures of calibration.

    unit: "window" or "recording".
    """
    level, titles = result[unit], metric_titles(dict(result))
    rows = [[titles[name], *_cells(entry)] for name, entry in level["metrics"].items()]
    for label, metrics in level["labels"].items():
        rows.append([f"AUROC, {label}", *_cells(metrics["auroc"])])
    sides = level["calibration"]
    for label in sides["external"]["each"]:
        for name in ("ece", "brier", "slope", "intercept"):
            pair = [side and side["each"].get(label) and side["each"][label][name] for side in sides.values()]
            if pair[1]:
                rows.append([f"{TITLES[name]}, {label}", *(_cell(each) for each in pair), ""])
    return rows


def _cells(entry: Entry) -> list[str]:
    difference = entry["difference"]
    if difference is None or difference["value"] is None:
        text = ""
    else:
        text = f"{formatting.signed(difference['value'])} ({formatting.signed_interval(difference)})"
    return [_cell(entry["internal"]), _cell(entry["external"]), text]


def _cell(entry: Entry | None) -> str:
    if not entry:
        return ""
    if entry["value"] is None:
        return formatting.MISSING
    return f"{formatting.score(entry['value'])} ({formatting.interval(entry)})"


def operating_rows(points: Mapping[str, Entry]) -> list[list[str]]:
    """Label, threshold, sensitivity, specificity, precision, prevalence and windows flagged of each threshold."""
    return [
        [
            name,
            f"{point['threshold']:.3g}",
            *(_cell(point[key]) for key in ("sensitivity", "specificity", "precision")),
            f"{formatting.percent(point['prevalence'])} %",
            "{value:.0f} ({ci_low:.0f} to {ci_high:.0f})".format(**point["flagged_per_1000"]),
        ]
        for name, point in points.items()
    ]


def subgroup_rows(column: Entry) -> list[list[str]]:
    """Part, counts, AUROC, sensitivity and specificity of each part; the large ones by AUROC, then the small ones."""
    ordered = sorted(
        column["parts"].items(), key=lambda item: (item[1]["small"], item[1]["metrics"]["auroc"]["value"] or 0)
    )
    return [
        [
            f"{part} (small, not ranked)" if entry["small"] else part,
            formatting.count(entry["windows"]),
            formatting.count(entry["groups"]),
            *(_cell(entry["metrics"][name]) for name in ("auroc", "recall", "specificity")),
        ]
        for part, entry in ordered
    ]


def certainty_rows(level: Mapping[str, Entry | None]) -> list[list[str]]:
    """Coverage promised and found, size of sets, and errors with abstention; level: of each side, per unit."""
    sides = [level["internal"], level["external"]]
    coverage = [side and side["coverage"] for side in sides]
    promised = next(each["promised"] for each in coverage if each)
    rows = [
        ["Coverage promised", *((each and f"{100 * promised:g} %") or "" for each in coverage)],
        ["Coverage found", *((each and _percent(each["found"])) or "" for each in coverage)],
        ["Classes in a set", *((each and f"{each['size']:.2f}") or "" for each in coverage)],
    ]
    for number, entry in enumerate(next(side for side in sides if side)["abstention"]):
        own = [side and side["abstention"][number] for side in sides]
        cells = [(each and f"{_fraction(each['error'])} of {_fraction(each['error_before'])}") or "" for each in own]
        rows.append([f"Error without the least sure {100 * entry['fraction']:g} %", *cells])
    return rows


def _percent(entry: Entry) -> str:
    return "{:.1f} % ({:.1f} to {:.1f})".format(*(100 * entry[key] for key in ("value", "ci_low", "ci_high")))


def _fraction(value: float | None) -> str:
    return formatting.MISSING if value is None else f"{100 * value:.1f} %"


def promise_sentences(certainty: Entry | None) -> list[str]:
    """Whether the coverage that prediction sets promise is found on the data, per recording where there are any."""
    if certainty is None:
        return []
    unit = "recording" if certainty["external"]["recording"] else "window"
    sides = (("internal", "the run's test data"), ("external", "these data"))
    return [
        promise_sentence(certainty[side][unit]["coverage"], f"{of}, per {unit},")
        for side, of in sides
        if certainty[side] is not None and certainty[side][unit] is not None
    ]


def _certainty_lines(certainty: Entry | None) -> list[str]:
    lines = [part for sentence in promise_sentences(certainty) for part in (sentence, "")]
    for unit in ("window", "recording"):
        if certainty is None or not certainty["external"][unit]:
            continue
        level = {side: certainty[side] and certainty[side][unit] for side in ("internal", "external")}
        lines += [*markdown_table((f"Prediction sets, per {unit}", "Internal", "External"), certainty_rows(level)), ""]
    return lines


def gap_sentence(gap: Entry | None) -> str:
    """The largest gap with its interval, and how many comparisons that takes into account."""
    if gap is None:
        return "Fewer than two parts are large enough to be compared."
    high, low = gap["parts"]
    level = 100 * (1 - 0.05 / gap["comparisons"])
    return (
        f"Largest gap in AUROC: {formatting.score(gap['value'])} ({high} above {low}; {level:.3g} % interval "
        f"{formatting.signed_interval(gap)}, which takes {formatting.counted(gap['comparisons'], 'comparison')} into "
        "account)."
    )


def interval_unit(result: Entry) -> str:
    """The unit of intervals in external.json and stress.json, in plural."""
    return "windows" if result["data"]["groups"] is None else "patients or recordings"


def sentences(result: Entry) -> list[str]:
    """What was left out, mapped and moved."""
    data = result["data"]
    groups = "" if data["groups"] is None else f" of {formatting.count(data['groups'])} patients or recordings"
    lines = [f"{formatting.counted(data['windows'], 'window')}{groups} of {data['path']}."]
    if data["left_out"]:
        counts = ", ".join(f"{name} {formatting.count(number)}" for name, number in data["left_out"].items())
        lines.append(f"Left out, without a class of the run: {counts}.")
    if data["absent"]:
        lines.append(f"Not in the data, so not measured: {', '.join(data['absent'])}.")
    if data["unused"]:
        lines.append(f"Labels of the data that the run does not know: {', '.join(data['unused'])}.")
    shift = result["shift"]
    if shift is not None:
        moved = ", ".join(
            f"{name} {formatting.percent(shift['from'][name])} to {formatting.percent(value)} %"
            for name, value in shift["to"].items()
        )
        how = "estimated from the probabilities" if shift["estimated"] else "stated"
        lines.append(f"Probabilities are moved to another prevalence ({how}): {moved}.")
        lines += _biased(shift)
    return [*lines, *data["notes"]]


def _biased(shift: Entry) -> list[str]:
    """A sentence where probabilities are too high or too low on validation, from which the shift starts."""
    means = shift.get("validation_mean", {})
    known = {name: mean for name, mean in means.items() if shift["from"][name] is not None}
    off = [name for name, mean in known.items() if abs(mean - shift["from"][name]) > BIAS]
    if not off:
        return []
    name = off[-1]  # of two classes the positive one
    return [
        f"On validation the mean probability of {name} is {formatting.percent(means[name])} %, but "
        f"{formatting.percent(shift['from'][name])} % of the windows have it: moved probabilities, and more so an "
        "estimated prevalence, are off. Training with --calibration platt removes this on validation."
    ]


def table_markdown(result: Entry) -> str:
    """All tables of an evaluation, with the sentences above them."""
    lines = [escape_markdown(sentence) for sentence in sentences(result)]
    lines = [line for sentence in lines for line in (sentence, "")]
    for level in ("window", "recording"):
        if result[level] is not None:
            header = (f"Per {level}", "Internal", "External", "Difference")
            lines += [*markdown_table(header, comparison_rows(result, level)), ""]
    lines += [
        f"In parentheses: 95 % bootstrap intervals over {interval_unit(result)}. Difference: external minus internal.",
        "",
    ]
    lines += _certainty_lines(result["certainty"])
    points = operating_rows(result["operating_points"])
    if points:
        wanted = next(iter(result["operating_points"].values()))["wanted"]
        header = (
            *(
                f"Sensitivity of {100 * wanted:g} % on validation",
                "Threshold",
                "Sensitivity",
                "Specificity",
                "Precision",
            ),
            *("Prevalence", "Windows flagged per 1,000"),
        )
        lines += [*markdown_table(header, points), ""]
    for name, column in result["subgroups"].items():
        header = (f"By {name}", "Windows", "Patients or recordings", "AUROC", "Sensitivity", "Specificity")
        lines += [*markdown_table(header, subgroup_rows(column)), "", escape_markdown(gap_sentence(column["gap"])), ""]
    return "\n".join(lines)
