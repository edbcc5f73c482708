"""Every allocation of the C code, refused once in turn: a MemoryError, arguments as they were, and the next call as ever."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("gcc") is None, reason="needs gcc, and a C library that asks LD_PRELOAD")
def test_every_allocation_that_is_refused_is_a_memory_error(tmp_path):
    # a process of its own, which begins with the shim: two seconds
    shim = tmp_path / "refuse_memory.so"
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", shim, HERE / "refuse_memory.c", "-ldl"], check=True)
    env = {**os.environ, "LD_PRELOAD": str(shim), "OPENBLAS_NUM_THREADS": "1"}
    child = [sys.executable, "-m", "tests.faults.memory_child", str(shim), "_kernels/", "1"]
    ended = subprocess.run(child, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=300)
    if ended.returncode and "symbol" in ended.stderr and "__libc_malloc" in ended.stderr:
        pytest.skip("the C library has no __libc_malloc to go on with")
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    total = sum(seen["allocations"] for seen in told.values())
    print(f"{total} allocations of {len(told)} calls refused in turn: {sum(seen['refused'] for seen in told.values())} MemoryError")
    for name, seen in told.items():
        assert seen["allocations"] > 0, name
        assert seen["refused"] == seen["allocations"], name
