"""Digests of code from outside the package follow its files."""

import json
from functools import partial

import torch

from ecgtune.models.base import Encoder
from ecgtune.utils.sources import remember_source, source_digest
from helpers.sources import import_source  # noqa: F401 (a fixture)

CODE = "import decoding_part\nclass Base: pass\nclass Mine(Base):\n    part = decoding_part.VALUE\n"


def test_code_of_the_package_and_its_libraries_has_no_digest():
    assert source_digest([Encoder, torch.nn.Linear, dict, json.loads]) == ""


def test_the_digest_follows_the_file_and_what_it_imports_from_its_folder(import_source):  # noqa: F811
    import_source("decoding_part", "VALUE = 1\n")
    first = source_digest([import_source("main_part", CODE).Mine])
    assert source_digest([partial(import_source("main_part", CODE).Mine)]) == first
    import_source("decoding_part", "VALUE = 2\n")
    second = source_digest([import_source("main_part", CODE).Mine])
    third = source_digest([import_source("main_part", CODE + "# edited\n").Mine])
    assert len({first, second, third, ""}) == 4


def test_registered_code_that_is_older_than_its_file_has_a_digest_of_its_own(import_source, tmp_path):  # noqa: F811
    import_source("decoding_part", "VALUE = 1\n")
    old = import_source("main_part", CODE)
    remember_source([old.Mine])
    before = source_digest([old.Mine])
    new = import_source("main_part", CODE + "# edited\n")
    remember_source([new.Mine])
    assert len({before, source_digest([old.Mine]), source_digest([new.Mine])}) == 3


def test_code_without_a_file_has_none():
    space = {"__name__": "a_notebook"}
    exec("def read(): pass", space)
    assert source_digest([space["read"]]) is None
