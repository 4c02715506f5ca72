"""Pictures on ECG paper."""

import numpy as np
import pytest

from ecgtune.reporting.ecg_paper import ecg_paper


@pytest.mark.parametrize("seconds", [2, 5, 10])
@pytest.mark.parametrize("millivolts", [True, False])
def test_a_line_of_fewer_points_is_not_called_a_preview(seconds, millivolts):
    window = np.sin(np.arange(100 * seconds, dtype=np.float32) / 9)[None]
    text = ecg_paper(window, 100.0, ("II",), "title", points=50, millivolts=millivolts)
    assert "PREVIEW" not in text
    assert "25 mm/s" in text
    assert ("10 mm/mV" in text) == millivolts
    assert ("amplitude: mV" in text) == millivolts
