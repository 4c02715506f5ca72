"""Numbers as readers see them."""

import pytest

from ecgtune.reporting import numbers


@pytest.mark.parametrize(
    ("show", "value", "text"),
    [
        (numbers.score, 0.83094, "0.831"),
        (numbers.score, None, "n/a"),
        (numbers.signed, 0.0123, "+0.012"),
        (numbers.signed, -0.0123, "-0.012"),
        (numbers.signed, -0.0001, "0.000"),
        (numbers.signed, None, "n/a"),
        (numbers.percent, 1.0, "100"),
        (numbers.percent, 0.05663, "5.66"),
        (numbers.percent, 0.0326, "3.26"),
        (numbers.percent, 0.0000886, "0.0089"),
        (numbers.percent, 0.0, "0"),
        (numbers.percent, None, "n/a"),
        (numbers.count, 65425, "65,425"),
        (numbers.count, 7.5, "7.5"),
        (numbers.rate, 0.0015, "0.0015"),
        (numbers.rate, 1e-6, "1e-06"),
        (numbers.seconds, 0.1234, "0.12"),
        (numbers.seconds, 12.34, "12.3"),
        (numbers.seconds, 123.4, "123"),
        (numbers.duration, 48.03, "48.0 s"),
        (numbers.duration, 480.35, "8.0 min"),
        (numbers.duration, 14_000, "3.9 h"),
        (numbers.duration, None, "n/a"),
        (numbers.significant, 0.808593, "0.8086"),
        (numbers.significant, 1.21307e-08, "1.213e-08"),
        (numbers.significant, None, "n/a"),
        (numbers.size, 512, "512 B"),
        (numbers.size, 2056, "2.1 kB"),
        (numbers.size, 812_000_000, "812 MB"),
        (numbers.size, 2.5e9, "2.5 GB"),
        (numbers.size, None, "n/a"),
        (numbers.with_std, {"mean": 0.8, "std": 0.01}, "0.800 ± 0.010"),
        (numbers.with_std, {"mean": 0.8, "std": None}, "0.800"),
        (numbers.with_std, {"mean": None, "std": None}, "n/a"),
        (numbers.interval, {"ci_low": 0.8, "ci_high": 0.9}, "0.800 to 0.900"),
        (numbers.interval, {"ci_low": None, "ci_high": None}, "n/a"),
        (numbers.signed_interval, {"ci_low": -0.02, "ci_high": 0.01}, "-0.020 to +0.010"),
        (numbers.signed_interval, {"ci_low": None, "ci_high": None}, "n/a"),
    ],
)
def test_number(show, value, text):
    assert show(value) == text
