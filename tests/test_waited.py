"""Factorisations that Ctrl-C does not have to wait for."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest

from linalign.linear_algebra import waited as module
from linalign.linear_algebra.waited import interruptible

SMALL, LARGE = np.ones((2, 2)), np.broadcast_to(1.0, (500, 500))


@pytest.fixture(autouse=True)
def default_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
    module.wait()


def where(A, **options):
    return threading.current_thread(), np.geterr()["over"], options


def test_large_ones_run_beside_the_main_thread_and_leave_no_thread():
    with np.errstate(over="raise"):
        thread, over, options = interruptible(where, LARGE, mode="r")
    assert (over, options) == ("raise", {"mode": "r"})
    assert thread is not threading.main_thread()
    assert not thread.is_alive()
    assert interruptible(where, SMALL)[0] is threading.main_thread()
    assert interruptible(where, LARGE[:0])[0] is threading.main_thread()


def test_the_bits_are_those_of_the_call_itself(monkeypatch):
    A = np.random.default_rng(0).standard_normal((60, 40))
    plain = np.linalg.svd(A, full_matrices=False)
    monkeypatch.setattr(module, "LONG", 0.0)
    for one, other in zip(module.svd(A), plain, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        interruptible(np.linalg.cholesky, -np.eye(3))


def test_ctrl_c_is_met_before_the_factorisation_ends():
    go, ended = threading.Event(), threading.Event()

    def slow(A):
        os.kill(os.getpid(), signal.SIGINT)
        assert go.wait(60)
        ended.set()

    with pytest.raises(KeyboardInterrupt):
        interruptible(slow, LARGE)
    assert not ended.is_set()
    left = [thread for thread in threading.enumerate() if thread.name == "linalign-factorisation"]
    assert [thread.is_alive() for thread in left] == [True]  # Python waits for it before it ends
    assert interruptible(where, LARGE)[2] == {}  # the next one does not wait for it
    go.set()
    module.wait()
    assert ended.is_set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # where JAX was imported
def test_a_fork_waits_for_what_was_interrupted():
    go, ended = threading.Event(), threading.Event()

    def slow(A):
        os.kill(os.getpid(), signal.SIGINT)
        go.wait(60)
        ended.set()

    with pytest.raises(KeyboardInterrupt):
        interruptible(slow, LARGE)
    threading.Timer(0.05, go.set).start()
    child = os.fork()
    if not child:
        os._exit(0 if ended.is_set() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_no_thread_where_ctrl_c_is_somebody_elses():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert interruptible(where, LARGE)[0] is threading.main_thread()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    found = []
    thread = threading.Thread(target=lambda: found.append(interruptible(where, LARGE)[0]))
    thread.start()
    thread.join()
    assert found == [thread]
