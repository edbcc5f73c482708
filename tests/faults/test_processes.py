"""Runs in processes and threads of every kind have the bits of the same run by itself, and limits are what they were measured to be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import linalign as la
from tests.examples import times
from tests.faults import limits, processes

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from tests.faults import processes
if __name__ == "__main__":
    count = int(sys.argv[1])
    wanted = [processes.digest(seed) for seed in range(count)]
    for kind in sys.argv[2:]:
        assert list(processes.KINDS[kind](count)) == wanted, kind
    print("the same bits")
"""


def test_the_bits_of_a_run_by_itself(tmp_path):
    # in a process of its own: what is forked is no part of the tests
    kinds = times(processes.QUICK, list(processes.KINDS))
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    path = os.pathsep.join([str(ROOT), str(Path(la.__file__).parents[1])])
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, str(script), str(times(4, 500)), *kinds]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=3000, cwd=tmp_path)
    assert ended.stdout == "the same bits\n", ended.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_calls_leave_nothing_behind():
    # pages of the allocator's are no call's: a kilobyte a call would be more
    grown, descriptors, threads = limits.calls(times(450, 10_000))
    assert grown < 2**18
    assert descriptors == 0
    assert threads == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_planning_takes_no_second_copy_of_the_data():
    # of 48 MB; beside the data and the rows that are run there are blocks of some thousand rows
    found = limits.apart(limits.measure, next(i for i, (k, n, _) in enumerate(limits.MEMORY) if (k, n) == ([20, 10, 3], 100_000)))
    own, _, most, _, ran = found
    assert ran <= 20
    assert most < 2 * own


def test_sizes_of_any_kind_give_numbers_or_a_sentence():
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((20, 6)), rng.standard_normal((20, 3))
    net = la.Network.dense([6, 5, 3]).init("gaussian", rng=0)
    for size in (5e-324, 1e-300, 1e-160, 1e160, 1e300):
        for scale in (5e-324, 1e-300, 1.0, 1e300):
            start = net.with_params([theta * scale for theta in net.params])
            for reduce in ("auto", "none"):
                try:
                    run = la.train(start, X * size, Y * size, lr=1e-3, steps=20, reduce=reduce)
                except la.DivergenceError as error:
                    run = error.run
                    # of a start that overflows there is no loss
                    assert np.isfinite(run.loss[:-1]).all()
                else:
                    assert np.isfinite(run.loss).all()
                    assert np.isfinite(run.network.matrix()).all()
