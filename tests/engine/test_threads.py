"""Limits of BLAS threads: from any thread, in any order, put back after anything that may end a block."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import gc
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

import linalign as la
from linalign import losses
from linalign.engine import threads
from linalign.engine.bind import sharers
from linalign.engine.threads import CALLS, Limits, _copies, limit
from linalign.plan import machine
from linalign.problem.problem import make_problem


def blas_threads():
    """The number of each copy of BLAS, of which there is one at least."""
    found = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    assert found, "no BLAS that one can ask"
    return found


def blas_counts():
    """The same numbers, from the functions themselves: for tests that ask often."""
    return [ctypes.CFUNCTYPE(ctypes.c_int)(reads)() for reads, _, _ in _copies()]


@contextlib.contextmanager
def set_to(threads):
    """BLAS set to so many threads for the block, which has to leave it like that; threadpoolctl is not asked."""
    copies = _copies()
    assert len(copies) == len(blas_threads()), "every copy can be limited"
    before = blas_counts()
    for _, sets, _ in copies:
        ctypes.CFUNCTYPE(None, ctypes.c_int)(sets)(threads)
    try:
        assert set(blas_threads()) == {threads}
        yield
        assert set(blas_threads()) == {threads}
    finally:
        for (_, sets, _), n in zip(copies, before, strict=True):
            ctypes.CFUNCTYPE(None, ctypes.c_int)(sets)(n)


@pytest.fixture
def two():
    with set_to(2):
        yield


def in_a_thread(task):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(task).result()


@pytest.mark.usefixtures("two")
def test_a_thread_limits_after_another_one_has():
    def seen():
        with limit(1):
            return blas_threads()

    for _ in range(2):
        assert set(seen()) == {1}
        assert set(in_a_thread(seen)) == {1}
        assert set(blas_threads()) == {2}


@pytest.mark.usefixtures("two")
def test_the_number_is_put_back_when_a_worker_enters_first_and_the_main_thread_leaves_last():
    here, there = limit(1), limit(1)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(there.__enter__).result()
        with here:
            pool.submit(there.__exit__, None, None, None).result()
            assert set(blas_threads()) == {1}
        assert set(blas_threads()) == {2}


THREADS = 3
# which limit, in which thread, how many at most: it is entered, or left if it was entered
MOVES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, THREADS - 1), st.sampled_from([1, 2])), max_size=25)


def check_moves(limits, moves, before, read, own, begin=None):
    """After each move every thread has the least of what counts for it, and in the end what it had before.

    `own`: only what was entered in the same thread counts. `begin` is called in every thread first.
    """
    pools = [ThreadPoolExecutor(1, initializer=begin) for _ in range(THREADS)]
    entered = {}

    def check():
        assert limits.inside() == len(entered)
        for i, pool in enumerate(pools):
            counts = [most for _, thread, most in entered.values() if thread == i or not own]
            assert set(pool.submit(read).result()) == {min(counts, default=before)}, f"thread {i}"

    def leave(key, thread):
        entering, _, _ = entered.pop(key)
        pools[thread].submit(entering.__exit__, None, None, None).result()

    try:
        check()
        for key, thread, most in moves:
            if key in entered:
                leave(key, entered[key][1] if own else thread)
            else:
                entered[key] = limits(most), thread, most
                pools[thread].submit(entered[key][0].__enter__).result()
            check()
        for key in list(entered):
            leave(key, entered[key][1])
            check()
    finally:
        for pool in pools:
            pool.shutdown()


@given(moves=MOVES)
def test_entered_and_left_in_any_thread_and_any_order(moves):
    with set_to(2):
        check_moves(Limits(_copies()), moves, 2, blas_threads, own=False)


@pytest.fixture(scope="module")
def openmp():
    """What reads and what sets the threads of OpenMP, of which every thread has a number of its own; some builds of BLAS use it."""
    found = ctypes.util.find_library("gomp")
    if found is None:
        pytest.skip("this system has no libgomp")
    library = ctypes.CDLL(found)
    return [getattr(library, name) for name in CALLS["openblas on openmp"][:2]]


@given(moves=MOVES)
def test_numbers_that_are_a_threads_own(openmp, moves):
    read, put = openmp
    limits = Limits([(*(ctypes.cast(f, ctypes.c_void_p).value for f in openmp), True)])
    check_moves(limits, moves, 3, lambda: [read()], own=True, begin=lambda: put(3))


def test_the_workers_of_a_sweep_each_have_a_limit(openmp, monkeypatch):
    read, _ = openmp
    monkeypatch.setattr(threads, "_LIMITS", Limits([(*(ctypes.cast(f, ctypes.c_void_p).value for f in openmp), True)]))
    seen, given = {}, in_a_thread(read)

    def make(rng):
        seen.setdefault(threading.get_ident(), read())
        return la.Network.dense([3, 3]).init("gaussian", rng=rng)

    la.sweep(make, np.eye(3), np.eye(3), grid={"rng": range(8)}, lr=0.1, steps=1, threads=2)
    # the first network is made by the thread that asks, to check the data, and before any limit
    seen.pop(threading.get_ident())
    assert seen
    assert set(seen.values()) == {1}, f"a thread begins with {given}"


@pytest.mark.usefixtures("two")
def test_a_limit_of_somebody_else_stays():
    def set_by_others(n):
        with threadpool_limits(n, user_api="blas"):
            pass
        threadpool_limits(n, user_api="blas")

    with limit(1):
        set_by_others(2)
    assert set(blas_threads()) == {2}
    # what a limit of another library puts back while ours is in force is not undone by ours
    others = threadpool_limits(1, user_api="blas")
    with limit(1):
        others.restore_original_limits()
        assert set(blas_threads()) == {2}
    assert set(blas_threads()) == {2}


@pytest.mark.usefixtures("two")
def test_a_limit_ends_with_what_holds_it():
    def dropped():
        with limit(1):
            yield

    held = dropped()
    next(held)
    assert set(blas_threads()) == {1}
    del held
    assert set(blas_threads()) == {2}
    entered = limit(1)
    entered.__enter__()
    with pytest.raises(RuntimeError, match="^this limit is in force already; make another one$"):
        entered.__enter__()
    assert set(blas_threads()) == {1}
    del entered
    assert set(blas_threads()) == {2}
    left = limit(1)
    left.__exit__(None, None, None)
    assert set(blas_threads()) == {2}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timer that interrupts")
@pytest.mark.usefixtures("two")
def test_ctrl_c_at_any_moment_puts_the_number_back():
    def handler(signum, frame):
        raise KeyboardInterrupt

    def many():
        while True:
            with limit(1), limit(2):
                pass

    previous = signal.signal(signal.SIGALRM, handler)
    ended = 0
    gc.disable()  # what is raised in a finaliser goes nowhere
    try:
        for i in range(2000):
            try:
                signal.setitimer(signal.ITIMER_REAL, 2e-5 + 1e-8 * i)
                many()
            except KeyboardInterrupt:
                ended += 1
            assert set(blas_counts()) == {2}, f"after {i} interrupts"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        gc.enable()
    assert ended == 2000


@pytest.mark.usefixtures("two")
def test_every_thread_that_trains_has_blas_to_itself():
    # the main thread has trained, and so was the first to set a limit
    net = la.Network.dense([3, 2, 3]).init("gaussian", rng=0)
    la.train(net, None, np.eye(3), lr=0.1, steps=1)
    seen = []

    def objective(P):
        seen.append(blas_threads())
        return 0.0, P

    def work():
        la.train(net, None, loss=losses.EndToEnd(objective), lr=0.1, steps=3, threads=1)

    workers = [threading.Thread(target=work) for _ in range(20)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(seen) >= 20 * 3
    assert {n for counts in seen for n in counts} == {1}


def test_few_rows_do_not_share_layers_that_are_written(monkeypatch):
    # layers of 320 kB, 480 kB and 3.2 MB: those that one cache keeps, those that two do, and those that these do not keep either
    profile = replace(machine.PROFILE, few=(16, 96), cache=160_000)
    monkeypatch.setattr(machine, "PROFILE", profile)
    small, middle, large = (la.Network.dense([200, k, 200]).init("zero") for k in (200, 300, 2000))
    X = np.eye(200)
    for net, rows, wanted in [(small, 15, 1), (small, 16, 2), (middle, 15, 2), (large, 16, 1), (large, 95, 1), (large, 96, 2)]:
        problem = make_problem(net, X[:1], X[:1], "squared")
        assert sharers(problem, rows, 2) == wanted
        assert sharers(problem, rows, 2, written=False) == 2
    # data are read alone, and here they are most of the work
    long = np.ones((500, 200))
    assert sharers(make_problem(small, long, long, "squared"), 10, 2) == 2
    assert sharers(make_problem(large, long, long, "squared"), 10, 2) == 1
