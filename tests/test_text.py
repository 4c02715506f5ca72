"""Text of files as it is shown: nothing in it acts on a terminal or a page."""

import pytest

from ecgtune.text import printable, printable_values, reason_of, shortened


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mAF\x1b[0m", r"\x1b[31mAF\x1b[0m"),
        ("AF\nerror: fake line\r", r"AF\nerror: fake line\r"),
        ("\x9b2J\x7f\0", r"\x9b2J\x7f\x00"),
        ("gnp\u202eexe\u2066\u200e", r"gnp\u202eexe\u2066\u200e"),
        ("a\u2028b\ufeff\u200b", r"a\u2028b\ufeff\u200b"),
        ("\udc80\U000e0041", r"\udc80\U000e0041"),
        (
            "Vorhofflimmern, שלום مرحبا 心房 Δ ± می\u200cخواهم C:\\ecg",
            "Vorhofflimmern, שלום مرحبا 心房 Δ ± می\u200cخواهم C:\\ecg",
        ),
    ],
)
def test_characters_that_act_are_escaped(text, shown):
    assert printable(text) == shown
    assert printable(shown) == shown


def test_values_of_a_file_are_escaped_at_any_depth():
    content = {"a\x1b": ["x\ny", 1, None, ("\x07",)], "b": {"c\u202e": 0.5}}
    assert printable_values(content) == {r"a\x1b": [r"x\ny", 1, None, [r"\x07"]], "b": {r"c\u202e": 0.5}}


def test_a_long_name_ends_in_an_ellipsis():
    assert shortened("a" * 10, 10) == "a" * 10
    assert shortened("a" * 11, 10) == "a" * 9 + "…"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("two\n lines"), "ValueError: two lines"),
        (KeyError("a"), "KeyError: 'a'"),
        (RuntimeError(), "RuntimeError"),
        (ValueError("word " * 60), "ValueError: " + "word " * 31 + "..."),
        (OSError("/" + "a" * 300), "OSError: /" + "a" * 155 + " ..."),
    ],
)
def test_another_librarys_error_is_told_with_its_type(error, told):
    assert reason_of(error) == told
