"""Files of torch.save are read as torch reads them, with work that follows from their size."""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from ecgtune.errors import CheckpointError
from ecgtune.models.pickles import DEEPEST, LONGEST_NAME, MOST_NUMBER_KEYS, MOST_VALUES, Inert, Interpreter, PickleError
from ecgtune.models.torch_files import read_torch_file

PLAIN = {
    "lists": [1, -2, [], [[3]], 10**18],
    "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, [4])),
    "tables": {"x": None, 1: 2.5, "n": {}, None: [True, False]},
    "ordered": OrderedDict(a=1, b=[2]),
    "text": "µV ✓",
}
SHARED = torch.arange(6.0).reshape(2, 3)
TENSORS = {"model": {"a": SHARED, "b": SHARED[1], "c": torch.zeros(2, 0), "d": torch.tensor(3)}, "size": SHARED.shape}


def equal(found: Any, expected: Any) -> bool:
    if isinstance(expected, torch.Tensor):
        return found.dtype == expected.dtype and torch.equal(found, expected)
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(equal(found[key], part) for key, part in expected.items())
    return found == expected


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("content", [PLAIN, TENSORS], ids=["plain", "tensors"])
def test_every_protocol_is_read_as_torch_reads_it(tmp_path: Path, content: Any, protocol: int, zipped: bool) -> None:
    path = tmp_path / "model.pt"
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    try:
        expected = torch.load(path, weights_only=False)
    except AssertionError:  # tensors in protocol 0
        with pytest.raises(CheckpointError, match="a storage without type or name"):
            read_torch_file(path)
    else:
        assert equal(expected, content)
        assert equal(read_torch_file(path), content)


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_objects_of_older_protocols_are_inert(tmp_path: Path, protocol: int) -> None:
    torch.save({"object": Path("x"), "bytes": b"", "set": {1}}, tmp_path / "model.pt", pickle_protocol=protocol)
    assert {key: type(value) for key, value in read_torch_file(tmp_path / "model.pt").items()} == (
        dict.fromkeys(("object", "bytes", "set"), Inert)
    )


def test_pairs_and_numbering_of_python_2(tmp_path: Path) -> None:
    pickled = b"ccollections\nOrderedDict\nq\x01((lp2\n(S'a'\nI1\nlp3\na(I7\ng3\nlatR."
    assert pickle.loads(pickled) == {"a": 1, 7: ["a", 1]}
    assert read_torch_file(archive(tmp_path, pickled)) == {"a": 1, 7: ["a", 1]}


def test_keys_of_an_optimizer() -> None:
    for keys in (range(5000), range(140_000_000_000_000, 140_000_000_100_000, 64)):
        assert read(pickle.dumps(dict.fromkeys(keys, 0.5))) == dict.fromkeys(keys, 0.5)


def archive(folder: Path, pickled: bytes) -> Path:
    with zipfile.ZipFile(folder / "model.pt", "w") as file:
        file.writestr("model/data.pkl", pickled)
    return folder / "model.pt"


def read(pickled: bytes) -> Any:
    return Interpreter(pickled).run()


def doubled(value: Any, times: int) -> Any:
    for _ in range(times):
        value = {"a": value, "b": value}
    return value


def chain(levels: int) -> list[Any]:
    """Lists, each in the next; all of them are also in the result, so that the shortest way to each has one level."""
    found: list[Any] = [[]]
    for _ in range(levels - 1):
        found.append([found[-1]])
    return found


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (doubled(0, 60), "values, where one in several containers counts in each"),
        (chain(DEEPEST), f"more than {DEEPEST} levels"),
        ([list(range(1000))] * (MOST_VALUES // 1000), "values, where one in several containers counts in each"),
        (dict.fromkeys(range(MOST_NUMBER_KEYS + 1)), "numbers as keys"),
        ([dict.fromkeys(range(100))] + [{n: n} for n in range(MOST_NUMBER_KEYS - 99)], "numbers as keys"),
        (list(range(MOST_VALUES)), "instructions"),
    ],
)
def test_what_would_take_long_is_refused(value: Any, message: str) -> None:
    with pytest.raises(PickleError, match=message):
        read(pickle.dumps(value))


def test_what_is_within_the_limits_is_read() -> None:
    numbers = dict.fromkeys(range(MOST_NUMBER_KEYS))
    for value in (doubled(0, 17), chain(DEEPEST - 1), [list(range(100))] * 4000, numbers):
        assert read(pickle.dumps(value)) == value


@pytest.mark.parametrize("key", ["x" * (LONGEST_NAME + 1), 1 << 61, -(1 << 61), float("nan"), 1e300, (1, 2)])
def test_keys_that_take_long_to_compare_are_not_read(key: Any) -> None:
    ((found, value),) = read(pickle.dumps({key: 3}, 4)).items()
    assert isinstance(found, Inert)
    assert value == 3
    assert str(found) == "an object that is not read"


@pytest.mark.parametrize("pickled", [b"g0\n.", b"Np1\ng0\n.", b"Np-1\ng-1\n.", b"Np0\ng-1\n.", b"Np500000\n."])
def test_numbers_that_no_value_has(tmp_path: Path, pickled: bytes) -> None:
    with pytest.raises(CheckpointError, match="PickleError: a number"):
        read_torch_file(archive(tmp_path, pickled))
