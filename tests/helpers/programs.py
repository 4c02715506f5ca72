"""Python programs in processes of their own."""

import multiprocessing
import os
import sys
from pathlib import Path

import torch


def run_program(program: str, folder: Path, **environment: str) -> str:
    """Run Python text in `folder` and return its output; fails with the end of it unless it ends with status 0.

    A forked process has what the tests have imported, which saves seconds; threads and CUDA do not survive it.
    """
    alone = torch.get_num_threads() == 1 and not torch.cuda.is_available()
    context = multiprocessing.get_context("fork" if alone and sys.platform == "linux" else "spawn")
    output = folder / "output.txt"
    process = context.Process(target=_run, args=(program, folder, environment, output))
    process.start()
    process.join()
    text = output.read_text("utf-8")
    assert process.exitcode == 0, text[-3000:]
    return text


def _run(program: str, folder: Path, environment: dict[str, str], output: Path) -> None:
    os.chdir(folder)
    os.environ.update(environment)
    file = os.open(output, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    sys.path.insert(0, "")
    exec(compile(program, "program.py", "exec"), {"__name__": "__main__"})
