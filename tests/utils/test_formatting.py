"""Numbers as readers see them."""

import pytest

from ecgtune.utils import formatting


@pytest.mark.parametrize(
    ("show", "value", "text"),
    [
        (formatting.score, 0.83094, "0.831"),
        (formatting.score, None, "n/a"),
        (formatting.signed, 0.0123, "+0.012"),
        (formatting.signed, -0.0123, "-0.012"),
        (formatting.signed, 0.0003, "+0.0003"),
        (formatting.signed, -0.00001, "0.0000"),
        (formatting.signed, -1e-17, "0.000"),
        (formatting.signed, None, "n/a"),
        (formatting.interval, {"ci_low": 0.54, "ci_high": 1.0, "too_few": True}, "0.540 to 1.000, too few"),
        (formatting.interval, {"ci_low": None, "ci_high": None, "too_few": True}, "too few"),
        (formatting.percent, 1.0, "100"),
        (formatting.percent, 0.05663, "5.66"),
        (formatting.percent, 0.0326, "3.26"),
        (formatting.percent, 0.0000886, "0.0089"),
        (formatting.percent, 0.0, "0"),
        (formatting.percent, None, "n/a"),
        (formatting.count, 65425, "65,425"),
        (formatting.count, 7.5, "7.5"),
        (formatting.rate, 0.0015, "0.0015"),
        (formatting.rate, 1e-6, "1e-06"),
        (formatting.seconds, 0.1234, "0.12"),
        (formatting.seconds, 12.34, "12.3"),
        (formatting.seconds, 123.4, "123"),
        (formatting.duration, 48.03, "48.0 s"),
        (formatting.duration, 480.35, "8.0 min"),
        (formatting.duration, 14_000, "3.9 h"),
        (formatting.duration, None, "n/a"),
        (formatting.significant, 0.808593, "0.8086"),
        (formatting.significant, 1.21307e-08, "1.213e-08"),
        (formatting.significant, None, "n/a"),
        (formatting.size, 512, "512 B"),
        (formatting.size, 2056, "2.1 kB"),
        (formatting.size, 812_000_000, "812 MB"),
        (formatting.size, 2.5e9, "2.5 GB"),
        (formatting.size, None, "n/a"),
        (formatting.with_std, {"mean": 0.8, "std": 0.01}, "0.800 ± 0.010"),
        (formatting.with_std, {"mean": 0.8, "std": None}, "0.800"),
        (formatting.with_std, {"mean": None, "std": None}, "n/a"),
        (formatting.interval, {"ci_low": 0.8, "ci_high": 0.9}, "0.800 to 0.900"),
        (formatting.interval, {"ci_low": None, "ci_high": None}, "n/a"),
        (formatting.signed_interval, {"ci_low": -0.02, "ci_high": 0.01}, "-0.020 to +0.010"),
        (formatting.signed_interval, {"ci_low": None, "ci_high": None}, "n/a"),
    ],
)
def test_number(show, value, text):
    assert show(value) == text


@pytest.mark.parametrize(
    ("names", "word", "most", "text"),
    [
        (["a"], "and", 12, "a"),
        (["a", "b"], "or", 12, "a or b"),
        (["a", "b", "c"], "and", 3, "a, b and c"),
        (["a", "b", "c", "d", "e"], "and", 3, "a, b, c and 2 more"),
        ([str(number) for number in range(2000)], "and", 1, "0 and 1,999 more"),
    ],
)
def test_names(names, word, most, text):
    assert formatting.listed(names, word, most) == text
