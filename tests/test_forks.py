"""Forks while threads train: no child waits for a thread that it has not, and none keeps what a thread of its parent had asked for."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

BEGIN = """
import contextlib, os, signal, sys, threading, time
import numpy as np
import linalign as la
from threadpoolctl import threadpool_info

def blas_threads():
    found = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    assert found
    return found

def start(sizes, rows=300, seed=0):
    rng = np.random.default_rng(seed)
    net = la.Network(sizes) if isinstance(sizes[0], la.Layer) else la.Network.dense(sizes)
    net = net.init("gaussian", rng=rng)
    return net, rng.standard_normal((rows, net.widths[0])), rng.standard_normal((rows, net.widths[-1]))

def child(task):
    # the process that does the task; one that hangs is ended by the alarm, whatever it waits for
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(100)
    try:
        task()
        os._exit(0)
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)

def ended(pid):
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code == 0, f"the child ended with {code}"
"""


def run(code, *arguments, blas=2):
    """The script in a process of its own, where BLAS has so many threads; what it printed."""
    env = {**os.environ, "OPENBLAS_NUM_THREADS": str(blas)}
    command = [sys.executable, "-c", BEGIN + code, *arguments]
    done = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, start_new_session=True)
    try:
        out, err = done.communicate(timeout=400)
    finally:
        with contextlib.suppress(ProcessLookupError):  # and whatever it has left behind
            os.killpg(done.pid, signal.SIGKILL)
    assert done.returncode == 0, err[-3000:]
    return out


WHILE_THREADS_TRAIN = """
before = blas_threads()
assert set(before) == {2}
small, large = start([12, 12, 12], 20), start([200, 200, 200])
stop = False

def train(problem, threads, record):
    while not stop:
        la.train(*problem, lr=1e-6, steps=5, threads=threads, record=record)

workers = [
    threading.Thread(target=train, args=arguments)
    for arguments in [(small, 1, {"alignment": 1}), (small, 1, {}), (large, 2, {"alignment_svd": 2})]
]
for worker in workers:
    worker.start()

def task():
    assert blas_threads() == before, blas_threads()
    for problem in (small, large):
        found = la.train(*problem, lr=1e-6, steps=3, threads=2, record={"alignment_svd": 3})
        assert np.isfinite(found.loss).all()
    la.sweep(lambda rng: small[0].init("gaussian", rng=rng), *small[1:], grid={"rng": range(3)}, lr=1e-6, steps=2, threads=2)
    assert blas_threads() == before, blas_threads()

limited = 0
try:
    for i in range(24):
        limited += blas_threads() != before
        if i % 4 == 0:  # from another thread than the main one
            worker = threading.Thread(target=lambda: ended(child(task)))
            worker.start()
            worker.join()
        else:
            ended(child(task))
finally:
    stop = True
    for worker in workers:
        worker.join()
assert blas_threads() == before
assert limited > 5, "the forks met no limit"
"""


def test_children_made_while_threads_train():
    run(WHILE_THREADS_TRAIN)


WHILE_A_MODULE_IS_IMPORTED = """
names = [name for name in la.__all__ if name in la.LATER]
first = threading.Event()

def work():
    for name in names:
        first.set()
        getattr(la, name)

def task():
    assert [getattr(la, name) for name in names]

assert "linalign.training.train" not in sys.modules
worker = threading.Thread(target=work)
worker.start()
first.wait()
for _ in range(8):
    ended(child(task))
worker.join()
"""


def test_children_made_while_a_thread_imports():
    run(WHILE_A_MODULE_IS_IMPORTED)


WHILE_A_PROPERTY_IS_COMPUTED = """
basis = np.random.default_rng(0).standard_normal((60, 30, 30))
stop = False

def make():
    return la.Network([la.Subspace(basis)]).init("gaussian", rng=0)

def work():
    while not stop:
        make()

worker = threading.Thread(target=work)
worker.start()
try:
    for _ in range(12):
        ended(child(make))
finally:
    stop = True
    worker.join()
"""


def test_children_made_while_a_thread_computes_a_property():
    # up to Python 3.11 that of functools holds a lock that all objects of a class share
    run(WHILE_A_PROPERTY_IS_COMPUTED, blas=1)


THE_RUN_GOES_ON = """
from linalign.record.reduced_vectors import ReducedScores

LAYERS = {
    "dense": [200, 200, 200],
    "convolutions": [la.Conv2d(24, 5, 1, 2), la.Conv2d(24, 5, 2, 1)],
    "tied": [la.Toeplitz(256, 256), la.Dense(256, 256)],
    "sparse": [la.Masked(np.random.default_rng(0).random((400, 400)) < 0.3), la.Dense(400, 400)],
    "factorisations": [300, 300, 300],
    "promises": [420, 410, 405],
}
kind = sys.argv[1]
net, X, Y = start(LAYERS[kind], rows=200)
calls, made, promised = [], [], []

def fork(network):
    calls.append(1)
    if len(calls) == 2:  # threads have been started since the first
        made.append(os.fork())
        if made[0] == 0:
            signal.alarm(100)
    return 0.0

def later(self, *arguments, found=ReducedScores.take):
    promised.append(1)
    return found(self, *arguments)

ReducedScores.take = later
# the scores of a step are asked for on both sides of the fork
before, behind = ("alignment_svd", "invariance") if kind in ("factorisations", "promises") else ("alignment", "misalignment")
reduce = "none"
if kind == "promises":
    X[:, 150:] = 0  # the first layer has a constant part
    reduce = ["inputs"]
found = la.train(net, X, Y, lr=1e-6, steps=8, threads=2, record={before: 2, fork: 2, behind: 2}, reduce=reduce)
numbers = np.concatenate([found.loss, *[found.history[name].values.ravel() for name in (before, behind)]])
assert np.isfinite(numbers).all() and len(calls) == 5 and bool(promised) == (kind == "promises"), (len(calls), promised)
if made[0]:
    ended(made[0])
print(numbers.tobytes().hex(), flush=True)
"""


@pytest.mark.parametrize("kind", ["dense", "convolutions", "tied", "sparse", "factorisations", "promises"])
def test_a_child_goes_on_with_the_run_that_it_was_made_in(kind):
    # the threads that shared its products and found its scores are lost; the numbers are those of the parent to the bit
    ours, theirs = run(THE_RUN_GOES_ON, kind, blas=1).split()
    assert ours
    assert ours == theirs


ANOTHER_LIBRARY = """
import ctypes, ctypes.util

problem = start([200, 200, 200])
if sys.argv[1] == "torch":
    import torch
    torch.set_num_threads(2)
    torch.randn(2000, 2000).exp().sum()
else:
    # the copy that the kernels have loaded
    path = next(line.split()[-1] for line in open("/proc/self/maps") if "gomp" in line)
    empty = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p)
    ctypes.CDLL(path).GOMP_parallel(empty, None, 2, 0)

def task():
    assert np.isfinite(la.train(*problem, lr=1e-6, steps=3, threads=2, reduce="none").loss).all()

for _ in range(2):
    ended(child(task))
task()
ended(child(task))
ended(child(lambda: ended(child(task))))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernels have threads on Linux only")
@pytest.mark.parametrize("library", ["openmp", "torch"])
def test_a_child_of_a_process_where_another_library_has_started_threads(library):
    # they are those of OpenMP, of which this thread has one pool
    if library == "torch":
        pytest.importorskip("torch", reason="PyTorch is the other library")
    run(ANOTHER_LIBRARY, library)


FORGOTTEN = """
import ctypes
from linalign.engine.threads import limit

before = blas_threads()
assert set(before) == {2}

def task():
    # whoever asked for less, in this thread or another, is not here
    assert blas_threads() == before
    inner.__exit__(None, None, None)
    assert blas_threads() == before
    with limit(1):
        assert set(blas_threads()) == {1}
    assert blas_threads() == before

inner = limit(1)
with limit(1), inner:
    there = limit(1)
    worker = threading.Thread(target=there.__enter__)
    worker.start()
    worker.join()
    ended(child(task))
    assert set(blas_threads()) == {1}
there.__exit__(None, None, None)
assert blas_threads() == before
"""


def test_a_child_has_no_limits():
    run(FORGOTTEN)


CTRL_C = """
signal.signal(signal.SIGINT, signal.default_int_handler)
net, X, Y = start([4, 4], 5)

def task():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        return
    raise AssertionError("Ctrl-C was lost")

def fork(network):
    ended(child(task))
    # in the run itself it ends the run after this slice
    signal.raise_signal(signal.SIGINT)
    return 0.0

assert la.train(net, X, Y, lr=1e-6, steps=5, record={fork: 5}).interrupted
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

# handlers of others are left to them
def theirs(signum, frame):
    raise ZeroDivisionError

def other():
    assert signal.getsignal(signal.SIGINT) is theirs

signal.signal(signal.SIGINT, theirs)
ended(child(other))
"""


def test_ctrl_c_reaches_a_child_that_was_made_in_a_run():
    run(CTRL_C)


POOL = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

signal.signal(signal.SIGINT, signal.default_int_handler)
net, X, Y = start([40, 40, 40], 50)

def make(rng):
    if rng == 1:
        time.sleep(1)  # the other one trains
        os.killpg(0, signal.SIGINT)  # as a terminal does, to all of them
    return net

# a run for hours in each process
with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
    found = la.sweep(make, X, Y, grid={"rng": [0, 1]}, executor=pool, lr=1e-9, steps=10**8, record={"loss": [0]})
assert found.interrupted and len(found) == 0, len(found)
"""


def test_ctrl_c_ends_a_sweep_in_processes_that_were_forked():
    run(POOL)


PROMISES = """
from linalign.scores.deferred import Later, Pool

pool, gate, ran = Pool(1), threading.Event(), []

def slow(x):
    gate.wait()
    ran.append(os.getpid())
    return {"a": x / 2}

def fails():
    gate.wait()
    return 1 / 0

waiting, failing = pool.submit(slow, 3), pool.submit(fails)

def task():
    gate.set()
    number = Later(waiting, "a")
    number.wait()
    assert number.result() == 1.5 and number.result() == 1.5 and ran == [os.getpid()]
    try:
        failing.result()
        raise AssertionError
    except ZeroDivisionError:
        pass
    assert pool.submit(slow, 5).result() == {"a": 2.5}

ended(child(task))
gate.set()
assert waiting.result() == {"a": 1.5} and ran == [os.getpid()]
"""


def test_what_lost_threads_were_finding_is_found_by_the_child():
    run(PROMISES)
