"""The table of the CinC 2017 runs in docs/real_tasks.md."""

from collections.abc import Sequence

from real_rows import Row, markdown, with_interval

CLASSES = ("N", "A", "O", "~")
_MEASURES = ("challenge_f1", "f1", *(f"f1_{name}" for name in CLASSES), "auroc", "accuracy")
COLUMNS = (
    "data", "label_fraction", "method", "title", "weights", "trainable_share", "training_windows", "epochs",
    "best_epoch",
    "seconds", "level", "n", *(f"n_{name}" for name in CLASSES),
    *(f"{name}{end}" for name in _MEASURES for end in ("", "_low", "_high")),
)  # fmt: skip
ORDER = ("probe", "lora", "full", "resnet", "majority")
LEVELS = {"recording": "recordings", "unseen": "recordings unseen in pretraining", "window": "windows"}
TITLES = {"windows": "windows", "records": "60 original files, 5 folds"}


def table(rows: Sequence[Row]) -> str:
    """Markdown: a line per data set, share of the labels, level and method."""
    if not rows:
        return "Not run yet.\n"
    lines = []
    data = dict.fromkeys((row["data"], row["label_fraction"]) for row in sorted(rows, key=_place))
    for source, share in data:
        for level, told in LEVELS.items():
            chosen = {
                row["method"]: row
                for row in rows
                if (row["data"], row["label_fraction"], row["level"]) == (source, share, level)
            }
            for name in (name for name in ORDER if name in chosen):
                row = chosen[name]
                what = (
                    TITLES[source] if source == "records" else f"{TITLES[source]}, {100 * float(share):g} % of labels"
                )
                each = [_class_cell(row, name) for name in CLASSES]
                challenge, macro = (with_interval(row, name) for name in ("challenge_f1", "f1"))
                lines.append([what, f"{int(row['n']):,} {told}", row["title"], challenge, macro, *each])
    heads = [f"F1 {name}" for name in CLASSES]
    return markdown(["data", "measured on", "method", "challenge F1 (N, A, O)", "with ~", *heads], lines)


def _place(row: Row) -> tuple[int, float]:
    return (row["data"] != "windows", float(row["label_fraction"]))


def _class_cell(row: Row, name: str) -> str:
    if row[f"n_{name}"] == "0":
        return "absent"
    text = row[f"f1_{name}"]
    return f"{float(text):.3f}" if text else "n/a"
