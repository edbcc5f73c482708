"""Disks that are full, folders that are read-only, processes that are killed while they write: the old file or the new one, whole."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest

import linalign as la
from tests.examples import times

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the children are forks"),
    # JAX, where another test of this process has imported it, warns of every fork
    pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning"),
]
if hasattr(os, "fork"):
    import resource

X, Y = np.eye(8, 5), np.arange(24.0).reshape(8, 3) / 24
NET = la.Network.dense([5, 20, 3]).init("gaussian", rng=0, scale=0.3)
# of a child: went well, or came to what the parent waits for; raised something else
WELL, WRONG = 0, 1


def network(rng):
    return la.Network.dense([5, 20, 3]).init("gaussian", rng=rng, scale=0.3)


def child(work):
    """Fork a process that does `work` and ends; its number."""
    with warnings.catch_warnings():
        # the children leave by os._exit, and take no lock that another thread may have held
        warnings.simplefilter("ignore", DeprecationWarning)
        process = os.fork()
    if process:
        return process
    code = WRONG
    try:
        work()
        code = WELL
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def status(process):
    return os.waitpid(process, 0)[1]


def temporary(folder):
    return [name for name in os.listdir(folder) if name.endswith(".part")]


# ---- killed ----------------------------------------------------------------------------------------------------------------


def killed(work, rng, whole, kills, enough):
    """Kill a process that does `work` at a random moment, so many times, and call `whole` after each; later where not `enough` was done.

    On a busy machine a child may not have begun when it is killed.
    """
    longest = 0.05
    while True:
        for _ in range(kills):
            process = child(work)
            time.sleep(rng.uniform(0.0, longest))
            os.kill(process, signal.SIGKILL)
            assert os.WIFSIGNALED(status(process))
            whole()
        if enough():
            return
        longest *= 2
        assert longest < 10, "nothing was done"


def test_killed_while_it_saves(tmp_path):
    runs = [la.train(NET, X, Y, lr=1e-2, steps=steps, record={"loss": 1}) for steps in (3, 3000)]
    path = tmp_path / "run.npz"
    runs[0].save(path)
    seen = set()

    def saves():
        while True:
            for run in runs:
                run.save(path)

    def whole():
        found = la.load(path)
        wanted = runs[found.steps == 3000]
        assert np.array_equal(found.excess, wanted.excess)
        assert np.array_equal(found.network.params[0], wanted.network.params[0])
        seen.add(found.steps)

    killed(saves, np.random.default_rng(0), whole, times(15, 100), lambda: seen == {3, 3000})
    # what a kill leaves of a file that had no name yet is of no other name
    assert set(os.listdir(tmp_path)) == {"run.npz", *temporary(tmp_path)}


def test_killed_while_it_keeps_checkpoints(tmp_path):
    path = tmp_path / "kept"
    options = {"lr": 1e-4, "momentum": 0.9, "steps": 60_000, "record": {"loss": 7000}}
    full = la.train(NET, X, Y, **options)

    def trains():
        la.train(NET, X, Y, **options, checkpoint=path, checkpoint_every=0.0)
        time.sleep(60)

    def whole():
        if path.exists():
            found = la.load(path)
            assert np.array_equal(found.excess, full.excess[: found.steps + 1])

    killed(trains, np.random.default_rng(1), whole, times(10, 100), path.exists)
    again = la.train(NET, X, Y, **options, checkpoint=path)
    assert np.array_equal(again.excess, full.excess)
    assert np.array_equal(again.network.params[1], full.network.params[1])
    assert set(os.listdir(tmp_path)) == {"kept", *temporary(tmp_path)}


def test_killed_while_it_writes_a_journal(tmp_path):
    path = tmp_path / "journal"
    options = {"grid": {"rng": range(60)}, "lr": 1e-2, "steps": 300, "record": {"loss": 1}, "threads": 1}
    full = la.sweep(network, X, Y, **options)
    lines = [0]

    def sweeps():
        la.sweep(network, X, Y, **options, path=path)
        time.sleep(60)

    def whole():
        content = path.read_bytes() if path.exists() else b""
        lines.append(content.count(b"\n"))
        assert lines[-1] >= lines[-2]

    killed(sweeps, np.random.default_rng(2), whole, times(10, 100), lambda: lines[-1] > 2)
    again = la.sweep(network, X, Y, **options, path=path)
    assert np.array_equal(again.loss, full.loss)
    assert np.array_equal(again.histories["loss"].values, full.histories["loss"].values)
    assert len(path.read_bytes().splitlines()) == 61


# ---- full ------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def at_most(size):
    """Files of this process may have so many bytes: what is written beyond is refused by the system, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def test_full_at_any_byte_the_old_run_stays(tmp_path):
    old, new = (la.train(NET, X, Y, lr=1e-2, steps=steps, record={"loss": 1}) for steps in (3, 40))
    path, weights = old.save(tmp_path / "run.npz"), NET.save_weights(tmp_path / "weights.safetensors")
    size, before = len(new.save(tmp_path / "size").read_bytes()), [path.read_bytes(), weights.read_bytes()]
    (tmp_path / "size").unlink()

    def saves():
        for most in [0, 1, size - 1, *range(0, size, max(1, size // times(40, 2000)))]:
            for save, target in ((new.save, path), (NET.save_weights, weights)):
                if target is weights and most >= len(before[1]):
                    continue
                with at_most(most):
                    try:
                        save(target)
                    except OSError as error:
                        if error.errno not in (27, 28):
                            raise
                    else:
                        raise AssertionError(f"{most} bytes were enough")
            if [path.read_bytes(), weights.read_bytes()] != before or temporary(tmp_path):
                raise AssertionError(f"something is left of what {most} bytes were not enough for")
        with at_most(size):
            new.save(path)

    assert status(child(saves)) == WELL
    assert la.load(path).steps == 40


def test_full_the_run_goes_on_and_the_checkpoint_is_the_old_one(tmp_path):
    path = tmp_path / "kept"
    options = {"lr": 1e-4, "steps": 2000, "checkpoint_every": 0.0}
    full = la.train(NET, X, Y, lr=1e-4, steps=2000)
    la.train(NET, X, Y, **{**options, "steps": 100}, checkpoint=path)
    before = path.read_bytes()

    def trains():
        with at_most(len(before) // 2), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run = la.train(NET, X, Y, **options, checkpoint=path)
        if path.read_bytes() != before or temporary(tmp_path):
            raise AssertionError("the old file is not as it was")
        if not caught or not np.array_equal(run.excess, full.excess):
            raise AssertionError(f"{len(caught)} warnings, and other losses or none")

    assert status(child(trains)) == WELL


def test_full_the_journal_has_whole_lines_and_is_gone_on_with(tmp_path):
    options = {"grid": {"rng": range(6)}, "lr": 1e-2, "steps": 30, "record": {"loss": 1}, "threads": 1}
    full = la.sweep(network, X, Y, **options, path=tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()

    def sweeps():
        for i, most in enumerate(range(0, len(content) - 1, max(1, len(content) // times(12, 300)))):
            path = tmp_path / f"journal {i}"
            with at_most(most):
                try:
                    la.sweep(network, X, Y, **options, path=path)
                except OSError as error:
                    if error.errno not in (27, 28):
                        raise
                else:
                    raise AssertionError(f"{most} bytes were enough")
            again = la.sweep(network, X, Y, **options, path=path)
            if not np.array_equal(again.loss, full.loss) or len(path.read_bytes().splitlines()) != 7:
                raise AssertionError(f"what {most} bytes left is not gone on with")

    assert status(child(sweeps)) == WELL


@pytest.fixture
def disk(tmp_path):
    """A file system of 256 kB, and what fills it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True, check=False).returncode
    ):
        pytest.skip("no file system can be mounted here: that takes root")

    def fill():
        with open(folder / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    try:
        yield folder, fill
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_full(disk):
    folder, fill = disk
    old, new = (la.train(NET, X, Y, lr=1e-2, steps=steps, record={"loss": 1}) for steps in (3, 4000))
    path, kept, journal = old.save(folder / "run.npz"), folder / "kept", folder / "journal"
    checkpointed = {"lr": 1e-4, "checkpoint": kept, "checkpoint_every": 0.0}
    la.train(NET, X, Y, steps=100, **checkpointed)
    swept = {"grid": {"rng": range(4)}, "lr": 1e-2, "steps": 100, "record": {"loss": 1}, "threads": 1}
    before = [path.read_bytes(), kept.read_bytes()]
    fill()
    with pytest.raises(OSError, match="No space left on device"):
        new.save(path)
    with pytest.raises(OSError, match="No space left on device"):
        NET.save_weights(folder / "weights.safetensors")
    with pytest.raises(OSError, match="No space left on device"):
        la.sweep(network, X, Y, **swept, path=journal)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        run = la.train(NET, X, Y, steps=2000, **checkpointed)
    assert np.array_equal(run.excess, la.train(NET, X, Y, lr=1e-4, steps=2000).excess)
    assert [path.read_bytes(), kept.read_bytes()] == before
    assert not temporary(folder)
    (folder / "filler").unlink()
    assert la.load(path).steps == 3
    again = la.train(NET, X, Y, steps=2000, **checkpointed)
    assert np.array_equal(again.excess, run.excess)
    assert np.array_equal(la.sweep(network, X, Y, **swept, path=journal).loss, la.sweep(network, X, Y, **swept).loss)


def test_a_folder_that_is_read_only(tmp_path):
    # as somebody who may not: root may write anywhere
    run = la.train(NET, X, Y, lr=1e-2, steps=3)
    folder = tmp_path / "folder"
    folder.mkdir()
    path = run.save(folder / "run.npz")
    before = path.read_bytes()
    path.chmod(0o644)
    folder.chmod(0o555)
    for parent in (folder, *folder.parents):
        if os.stat(parent).st_uid == os.geteuid() and parent != folder:
            parent.chmod(parent.stat().st_mode | 0o055)
        if parent.name.startswith("pytest-of-"):
            break

    def refused(work):
        try:
            work()
        except PermissionError:
            return
        except OSError as error:
            if "is no directory that can be written to" in str(error):
                return
            raise
        raise AssertionError("written")

    def tries():
        if os.geteuid() == 0:
            os.setuid(65534)
        refused(lambda: run.save(path))
        refused(lambda: run.save(folder / "new.npz"))
        refused(lambda: NET.save_weights(folder / "weights.npz"))
        refused(lambda: la.train(NET, X, Y, lr=1e-2, steps=3, checkpoint=folder / "kept"))
        refused(lambda: la.sweep(network, X, Y, grid={"rng": [0]}, lr=1e-2, steps=3, threads=1, path=folder / "journal"))
        if la.load(path).steps != 3:
            raise AssertionError("the old file cannot be read")

    sys.stdout.flush()
    try:
        assert status(child(tries)) == WELL
    finally:
        folder.chmod(0o755)
    assert os.listdir(folder) == ["run.npz"]
    assert path.read_bytes() == before
