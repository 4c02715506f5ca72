"""Tables of an evaluation on another data set."""

import numpy as np

from ecgtune.evaluation.decision import Decision, binary_decision
from ecgtune.evaluation.external import Measured, compare_data, operating_point
from ecgtune.reporting.external import comparison_rows, table_markdown


def test_the_units_of_intervals_and_flags_are_named():
    generator = np.random.default_rng(0)
    label = generator.integers(0, 2, 80)
    data = Measured(label, np.clip(0.3 + 0.3 * label + generator.normal(0, 0.2, 80), 0, 1), None)
    facts = {"path": "x.npz", "windows": 80, "groups": None, "left_out": {}, "absent": [], "unused": [], "notes": []}
    result = {
        "task": "binary",
        "data": facts,
        "shift": None,
        "window": compare_data(None, data, binary_decision(), ("other", "AF")),
        "recording": None,
        "certainty": None,
        "operating_points": {"AF": operating_point(data, data, 0.9)},
        "subgroups": {},
    }
    text = table_markdown(result)
    assert "intervals over windows." in text
    assert "| Windows flagged per 1,000 |" in text
    assert "intervals over patients or recordings." in table_markdown(result | {"data": facts | {"groups": 40}})


def test_means_over_classes_are_called_macro():
    label = np.arange(60) % 3
    data = Measured(label, np.where(np.eye(3)[label] == 1, 0.6, 0.2), None)
    level = compare_data(None, data, Decision("multiclass"), ("N", "AF", "noise"))
    titles = [row[0] for row in comparison_rows({"task": "multiclass", "window": level}, "window")]
    assert titles[:6] == ["Accuracy", "Macro precision", "Macro recall", "Macro specificity", "Macro F1", "Macro AUROC"]
