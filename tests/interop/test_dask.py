"""dask's distributed as the executor of sweeps, and parquet by row groups: the numbers, what is lost, and memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from functools import partial

import numpy as np
import pytest

import linalign as la
from linalign.interop.dask import compress_parquet
from linalign.sweeps.cluster import client_of, slots

distributed = pytest.importorskip("distributed")
# sockets and loops of the cluster's own are closed by it, later
pytestmark = pytest.mark.filterwarnings("ignore")
GRID = {"rng": list(range(12)), "lr": [1e-2, 1e-3]}


def data():
    rng = np.random.default_rng(0)
    return rng.standard_normal((200, 6)), rng.standard_normal((200, 3))


@pytest.fixture(scope="module")
def cluster():
    """Two workers, processes of one thread; starting them takes seconds."""
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as made:
        yield made


@pytest.fixture
def client(cluster):
    cluster.scale(2)
    with distributed.Client(cluster) as made:
        made.wait_for_workers(2, timeout=60)
        yield made


def same(a, b):
    """Whether two sweeps have the same numbers up to rounding: the workers get compressed data."""
    np.testing.assert_allclose(a.loss, b.loss, rtol=1e-10)
    assert [row["steps"] for row in a.rows] == [row["steps"] for row in b.rows]
    assert (a.status == b.status).all()


def test_a_sweep_on_a_cluster(client):
    X, Y = data()
    make = lambda rng: la.Network.dense([6, 5, 3]).init("gaussian", rng=rng)  # noqa: E731 - dask pickles by value
    executor = client.get_executor()
    assert slots(executor) == 2
    found = la.sweep(make, X, Y, grid=GRID, steps=50, loss="mse", executor=executor, record={"alignment": 10})
    here = la.sweep(make, X, Y, grid=GRID, steps=50, loss="mse", record={"alignment": 10})
    same(found, here)
    np.testing.assert_allclose(found.histories["alignment"].values, here.histories["alignment"].values, rtol=1e-8)


def test_other_executors_are_no_clusters():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(3) as pool:
        assert client_of(pool) is None
        assert slots(pool) == 3


def slow_network(folder, rng):
    """A network that takes its time, and says which process makes it."""
    with open(os.path.join(folder, str(os.getpid())), "a") as file:
        file.write(f"{rng}\n")
    time.sleep(0.15)
    return la.Network.dense([6, 5, 3]).init("gaussian", rng=rng)


def quick_network(rng):
    return la.Network.dense([6, 5, 3]).init("gaussian", rng=rng)


def test_the_runs_of_a_lost_worker_are_made_again(client, tmp_path):
    """A worker is killed, as by a machine that goes down, while it has runs under way and has the data."""
    X, Y = data()
    import threading

    def kill():
        while not (own := [name for name in os.listdir(tmp_path) if name.isdecimal() and int(name) != os.getpid()]):
            time.sleep(0.02)
        time.sleep(0.2)
        os.kill(int(own[0]), signal.SIGKILL)
        killed.append(int(own[0]))

    killed = []
    killer = threading.Thread(target=kill)
    killer.start()
    found = la.sweep(partial(slow_network, str(tmp_path)), X, Y, grid=GRID, steps=50, loss="mse", executor=client.get_executor())
    killer.join()
    assert len(killed) == 1
    assert len(found) == 24
    assert not found.errors
    same(found, la.sweep(quick_network, X, Y, grid=GRID, steps=50, loss="mse"))


PROGRAM = """
import sys, time
sys.path.insert(0, {root!r})
from functools import partial
import distributed
import linalign as la
from tests.interop.test_dask import GRID, data, slow_network
if __name__ == "__main__":
    with distributed.Client(n_workers=2, threads_per_worker=1, dashboard_address=None) as client:
        print([worker.process.pid for worker in client.cluster.workers.values()], flush=True)
        la.sweep(partial(slow_network, {folder!r}), *data(), grid=GRID, steps=50, loss="mse", executor=client.get_executor(), path={path!r})
"""


def test_a_sweep_goes_on_after_client_and_scheduler_were_killed(tmp_path):
    """The scheduler of a local cluster is in the process of the client, and both are killed at once."""
    path, folder = tmp_path / "sweep.jsonl", tmp_path / "made"
    folder.mkdir()
    (tmp_path / "program.py").write_text(PROGRAM.format(root=os.getcwd(), folder=str(folder), path=str(path)))
    command = [sys.executable, str(tmp_path / "program.py")]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=os.getcwd(),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        workers = json.loads(process.stdout.readline())
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (path.exists() and path.read_text().count("\n") >= 5):
            time.sleep(0.02)
        process.kill()
    for pid in workers:  # they end by themselves once the scheduler is gone; this is sooner
        if os.path.exists(f"/proc/{pid}"):
            os.kill(pid, signal.SIGKILL)
    kept = path.read_text().count("\n") - 1
    assert 4 <= kept < 24
    X, Y = data()
    made = []

    def network(rng):
        made.append(rng)
        return quick_network(rng)

    found = la.sweep(network, X, Y, grid=GRID, steps=50, loss="mse", path=path)
    # those that are missing, and two that tell before any run of mistakes and of what may run side by side
    assert len(made) <= 24 - kept + 2
    same(found, la.sweep(quick_network, X, Y, grid=GRID, steps=50, loss="mse"))


# ---- parquet ---------------------------------------------------------------------------------------------------------------


def table(path, n, k, groups, seed=0):
    """`n` rows of `k` inputs and a target, in so many row groups."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, k))
    y = X @ rng.standard_normal(k) + rng.standard_normal(n)
    columns = {f"x{j}": X[:, j] for j in range(k)} | {"y": y, "name": ["a"] * n}
    parquet.write_table(pyarrow.table(columns), path, row_group_size=-(-n // groups))
    return X, y


@pytest.mark.parametrize("parallel", [False, True])
def test_parquet_by_row_groups(tmp_path, parallel):
    parts = [table(tmp_path / f"{i}.parquet", 300 + i, 5, 4, seed=i) for i in range(2)]
    X, Y = np.vstack([X for X, _ in parts]), np.concatenate([y for _, y in parts])
    columns = [f"x{j}" for j in range(5)]
    found = compress_parquet([tmp_path / "0.parquet", tmp_path / "1.parquet"], "y", columns=columns, parallel=parallel)
    want = la.compress(X, Y)
    assert (found.n, found.X.shape) == (601, (5, 5))
    net = la.Network.dense([5, 4, 1]).init("xavier", rng=0)
    a, b, c = (la.train(net, *what, loss="mse", lr=0.05, steps=200) for what in ((found,), (want,), (X, Y)))
    np.testing.assert_allclose(a.loss, b.loss, rtol=1e-12)
    np.testing.assert_allclose(a.loss, c.loss, rtol=1e-12)


def test_memory_is_that_of_a_row_group(tmp_path):
    """Twice the data in row groups of the same size take the same memory, a small part of the data."""
    pyarrow = pytest.importorskip("pyarrow")
    rows, k, peaks = 3000, 20, []
    pool = pyarrow.default_memory_pool()
    for groups in (20, 40):
        table(tmp_path / "big.parquet", rows * groups, k, groups)
        before = pool.bytes_allocated()
        tracemalloc.start()
        try:
            found = compress_parquet(tmp_path / "big.parquet", "y", columns=[f"x{j}" for j in range(k)])
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert found.n == rows * groups
        assert pool.bytes_allocated() - before < 8 * rows * k
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[1] < 8 * found.n * k / 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "column 'name' is string; numbers were wanted: leave it out of columns"),
        ({"target": "z"}, "target names 'z' but the columns of "),
        ({"columns": []}, "columns is empty; at least one of x0, x1, y, name was wanted"),
        ({"paths": []}, "paths is empty; at least one parquet file was wanted"),
    ],
)
def test_bad_parquet(tmp_path, options, message):
    path = tmp_path / "t.parquet"
    table(path, 10, 2, 2)
    asked = {"paths": path, "target": "y"} | options
    with pytest.raises(ValueError, match=message):
        compress_parquet(**asked)
