"""Messages of errors are one printable line, whatever they repeat of a file."""

import pickle

import pytest

from ecgtune import errors
from ecgtune.errors import EcgtuneError, QuestionError

KINDS = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, EcgtuneError) and each is not QuestionError
]


@pytest.mark.parametrize("kind", KINDS)
def test_text_of_a_file_cannot_act_on_a_terminal_or_make_a_line_of_its_own(kind):
    error = kind("channel a\x1b[31m\nerror: fake line\u202e has no scale\n")
    assert str(error) == r"channel a\x1b[31m error: fake line\u202e has no scale"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_questions_are_one_line_too():
    error = QuestionError("a\x00.csv", "which rate? --sampling-rate", "which\nlabel? --label")
    assert str(error) == r"a\x00.csv: which rate? --sampling-rate. Also: which label? --label"
    assert error.questions == ("which rate? --sampling-rate", "which\nlabel? --label")
