"""Processes of torchrun."""

import os
import signal
import subprocess
import sys
import time

import pytest

PROCESS = """
import os
import time
from ecgtune.training.processes import Processes
Processes("cpu")
print(os.getpid(), flush=True)
time.sleep(120)
"""


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="an orphan keeps its parent here")
def test_they_end_within_five_seconds_of_a_killed_torchrun(tmp_path):
    (tmp_path / "job.py").write_text(PROCESS)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", tmp_path / "job.py"]
    with subprocess.Popen(
        launch, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    ) as torchrun:
        assert torchrun.stdout is not None
        processes = [int(torchrun.stdout.readline()) for _ in range(2)]
        assert all(map(is_alive, processes))
        torchrun.send_signal(signal.SIGKILL)
        torchrun.wait()
        time.sleep(5)
        alive = [process for process in processes if is_alive(process)]
        for process in alive:
            os.kill(process, signal.SIGKILL)
    assert not alive
