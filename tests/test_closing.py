"""What a run opens is closed, also where something raises: bars, journals, threads."""

import gc
import os
import sys
import threading

import pytest

import linalign as la
from linalign.record import reduced_vectors as small_scores
from linalign.scores import deferred as later
from linalign.scores import vector_scores as vectors
from linalign.sweeps import journal
from tests.oracles.draws import gaussian

X, Y = gaussian(0, 12, 5), gaussian(1, 12, 3)


def network(rng=0):
    return la.Network.dense([5, 4, 3]).init("gaussian", rng=rng)


class Bar:
    """Stands for tqdm's, and counts those that are open."""

    open = 0

    def __init__(self, **options):
        Bar.open += 1
        self.total = options["total"]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        Bar.open -= 1

    def update(self, steps):
        assert Bar.open == 1


@pytest.fixture
def bars(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", type(sys)("tqdm.auto"))
    sys.modules["tqdm.auto"].tqdm = Bar
    Bar.open = 0
    return Bar


def fails(net):
    raise ZeroDivisionError("recorded")


def test_the_bar_of_a_run_whose_recorded_function_raises(bars):
    for every in (1, [3], [10]):
        with pytest.raises(ZeroDivisionError, match="recorded"):
            la.train(network(), X, Y, lr=1e-3, steps=10, record={fails: every}, progress=True)
        assert bars.open == 0
    with pytest.raises(la.DivergenceError):
        la.train(network(), X, Y, lr=10.0, steps=1000, progress=True)
    assert bars.open == 0
    la.train(network(), X, Y, lr=1e-3, steps=10, progress=True)
    assert bars.open == 0


def descriptors():
    return sorted(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None


def test_a_sweep_without_tqdm_leaves_no_journal(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    before = descriptors()
    with pytest.raises(ImportError, match="progress=True needs tqdm") as caught:
        la.sweep(network, X, Y, grid={"rng": range(2)}, lr=1e-3, steps=5, path=tmp_path / "kept", progress=True)
    assert descriptors() == before
    assert not (tmp_path / "kept").exists()
    assert caught.value is not None  # its frames are still there


def test_a_journal_that_cannot_be_begun_is_closed(tmp_path, monkeypatch, bars):
    def full(self, line):
        raise OSError("disk full")

    monkeypatch.setattr(journal.Journal, "_write", full)
    before = descriptors()
    with pytest.raises(OSError, match="disk full"):
        la.sweep(network, X, Y, grid={"rng": range(2)}, lr=1e-3, steps=5, path=tmp_path / "kept", progress=True)
    assert descriptors() == before
    assert bars.open == 0


def test_a_sweep_whose_journal_fails_leaves_no_thread_at_work(tmp_path, monkeypatch):
    def full(self, outcome):
        raise OSError("disk full")

    monkeypatch.setattr(journal.Journal, "append", full)
    before = descriptors()
    with pytest.raises(OSError, match="disk full") as caught:
        la.sweep(network, X, Y, grid={"rng": range(1000)}, lr=1e-3, steps=2000, threads=2, path=tmp_path / "kept")
    assert caught.value is not None  # its frames are still there
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("linalign-sweep")] == []
    assert descriptors() == before


def scored(monkeypatch, wide):
    """A run whose scores are found by other threads."""
    monkeypatch.setattr(vectors, "WORTH_A_THREAD", 1)
    monkeypatch.setattr(small_scores, "WIDE", 1)
    if wide:
        net = la.Network.dense([40, 30, 3]).init("gaussian", rng=0)
        return net, gaussian(2, 6, 40), gaussian(3, 6, 3)
    return network(), X, Y


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("how", ["whole", "raises", "diverges"])
def test_no_thread_is_left_of_the_scores(monkeypatch, wide, how):
    net, data, targets = scored(monkeypatch, wide)
    began = []
    made = later.ThreadPoolExecutor
    monkeypatch.setattr(later, "ThreadPoolExecutor", lambda threads: began.append(made(threads)) or began[-1])
    record = {"alignment_svd": 1, "invariance": 1}
    gc.disable()  # threads that only the collector ends are left
    try:
        options = {"steps": 12, "threads": 2, "reduce": "auto" if wide else "none"}
        if how == "raises":
            with pytest.raises(ZeroDivisionError):
                la.train(net, data, targets, lr=1e-4, record=record | {fails: [5]}, **options)
        elif how == "diverges":
            with pytest.raises(la.DivergenceError):
                la.train(net, data, targets, lr=10.0, record=record, **options)
        else:
            la.train(net, data, targets, lr=1e-4, record=record, **options)
        assert began
        for pool in began:
            assert not any(thread.is_alive() for thread in pool._threads)
            with pytest.raises(RuntimeError, match="after shutdown"):
                pool.submit(abs, 1)
    finally:
        gc.enable()
