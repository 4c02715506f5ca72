"""Text of files as it is shown: nothing in it acts on a terminal or a page."""

import json

import pytest

from ecgtune.text import name_problem, printable, printable_json, printable_values, reason_of, shortened, shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mAF\x1b[0m", r"\x1b[31mAF\x1b[0m"),
        ("AF\nerror: fake line\r", r"AF\nerror: fake line\r"),
        ("\x9b2J\x7f\0", r"\x9b2J\x7f\x00"),
        ("gnp\u202eexe\u2066\u200e", r"gnp\u202eexe\u2066\u200e"),
        ("a\u2028b\ufeff\u200b", r"a\u2028b\ufeff\u200b"),
        ("\udc80\U000e0041", r"\udc80\U000e0041"),
        ("AF" + "\u0301" * 120, "AF" + "\u0301" * 4 + r"\u0301" * 116),
        ("\u0301A '\u0489 \x00\u0301", r"\u0301A '\u0489 \x00\u0301"),
        ("\u3164|\u2800|A\u034f|\ufe0f|\U000e0100|\u200d", r"\u3164|\u2800|A\u034f|\ufe0f|\U000e0100|\u200d"),
        *(
            (text, text)
            for text in ("नमस्ते किं ที่ผู้ป่วย", "Tie\u0302\u0301ng Việt", "مُحَمَّدٌ שָׁלוֹם བསྒྲུབས", "❤️ 👩‍👩‍👧 #️⃣ 葛\U000e0100")
        ),
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


@pytest.mark.parametrize(
    "text", ["\x9b2J", "A\u202eF\n", "caf\udce9", "A" + "\u0301" * 9, "\u3164", "\U000e0041", "é Δ"]
)
def test_json_is_printable_and_has_the_same_values(text):
    written = printable_json(json.dumps({text: [text]}, ensure_ascii=False, indent=1))
    assert json.loads(written) == {text: [text]}
    assert printable(written, lines=True) == written
    assert ("é" in written) == ("é" in text)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("SR\ud800", "Unicode"),
        ("caf\udce9", "Unicode"),
        ("\u3164", "visible"),
        ("\u2800 \ufe0f", "visible"),
        ("\u0301", "visible"),
        ("", "visible"),
        *((name, None) for name in ("AF", "हिन्दी", "心房", "=1", "a\x1b", "❤️")),
    ],
)
def test_names_that_no_class_can_have(name, problem):
    found = name_problem(name)
    assert found is None if problem is None else problem in found


def test_a_name_in_a_message_hides_nothing():
    assert shown("\u0301\u3164A" + "\u0301" * 5) == r"'\u0301\u3164A" + "\u0301" * 4 + r"\u0301'"


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
