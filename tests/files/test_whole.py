"""Files are written whole or not at all: among threads, over links, beside devices, under long names."""

import errno
import os
import stat
import threading

import numpy as np
import pytest

import linalign as la
from linalign import files
from linalign.files import replacing


@pytest.fixture(scope="module")
def run():
    rng = np.random.default_rng(0)
    net = la.Network.dense([5, 4, 3]).init("gaussian", rng=0)
    return la.train(net, rng.standard_normal((12, 5)), rng.standard_normal((12, 3)), lr=1e-3, steps=7, record={"alignment": 1})


def test_threads_that_save_to_one_path(run, tmp_path):
    path, failed, done = tmp_path / "run.npz", [], threading.Event()
    run.save(path)

    def attempt(work):
        try:
            work()
        except Exception as error:
            failed.append(error)

    def write():
        for _ in range(40):
            run.save(path)

    def read():
        while not done.is_set():
            assert np.array_equal(la.load(path).loss, run.loss)

    writers = [threading.Thread(target=attempt, args=[write]) for _ in range(4)]
    reader = threading.Thread(target=attempt, args=[read])
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert failed == []
    assert os.listdir(tmp_path) == ["run.npz"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_what_is_no_regular_file_is_refused(run, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    paths = [tmp_path / "pipe", "/dev/null"]
    if os.geteuid() == 0:
        try:
            os.mknod(tmp_path / "node", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
            paths.append(tmp_path / "node")
        except OSError:  # containers may not make devices
            pass
    before = sorted(os.listdir(tmp_path))
    for path in paths:
        kind = os.stat(path).st_mode
        with pytest.raises(OSError, match="no regular file; pass the path of one"):
            run.save(path)
        with pytest.raises(OSError, match="no regular file"):
            la.sweep(
                lambda rng: la.Network.dense([2, 2]).init("gaussian", rng=rng),
                np.eye(2),
                np.eye(2),
                grid={"rng": [0]},
                lr=0.1,
                steps=1,
                path=path,
            )
        assert os.stat(path).st_mode == kind
    assert sorted(os.listdir(tmp_path)) == before


def test_a_symbolic_link_stays_and_what_it_points_to_is_replaced(run, tmp_path):
    (tmp_path / "there").mkdir()
    real, link = tmp_path / "there" / "real.npz", tmp_path / "link.npz"
    for target in ("there/real.npz", str(real)):
        for exists in (False, True):
            real.unlink(missing_ok=True)
            link.unlink(missing_ok=True)
            if exists:
                real.write_bytes(b"old")
            link.symlink_to(target)
            assert run.save(link) == link
            assert link.is_symlink()
            assert not real.is_symlink()
            assert la.load(real).steps == la.load(link).steps == 7
    assert sorted(os.listdir(tmp_path)) == ["link.npz", "there"]
    assert os.listdir(tmp_path / "there") == ["real.npz"]
    link.unlink()
    link.symlink_to(link)
    with pytest.raises(OSError) as caught:
        run.save(link)
    assert caught.value.errno == errno.ELOOP


def test_a_name_as_long_as_the_system_takes(run, tmp_path):
    path = tmp_path / ("n" * 251 + ".npz")
    assert la.load(run.save(path)).steps == 7
    assert os.listdir(tmp_path) == [path.name]


def test_an_old_file_keeps_its_permissions_and_a_new_one_has_those_of_the_umask(run, tmp_path):
    old = os.umask(0o022)
    try:
        for mode in (0o600, 0o640, 0o666):
            path = run.save(tmp_path / "run.npz")
            path.chmod(mode)
            assert stat.S_IMODE(run.save(path).stat().st_mode) == mode
            path.unlink()
        assert stat.S_IMODE(run.save(tmp_path / "new.npz").stat().st_mode) == 0o644
    finally:
        os.umask(old)


def test_nothing_is_left_of_what_failed(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fails(*args):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    for name in ("fsync", "chmod", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(files.whole.os, name, fails)
            with pytest.raises(OSError, match=os.strerror(errno.EIO)), replacing(path) as file:
                file.write(b"new")
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["file"]
    with pytest.raises(FileNotFoundError, match=r"none/file'$"), replacing(tmp_path / "none" / "file"):
        pytest.fail("there is no such folder")


def test_pictures_are_written_whole(run, tmp_path, monkeypatch):
    figure = pytest.importorskip("matplotlib.figure")
    path = tmp_path / "a.png"
    run.plot(path)
    before = path.read_bytes()

    def fails(self, file, **options):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(figure.Figure, "savefig", fails)
    with pytest.raises(KeyboardInterrupt):
        run.plot(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.png"]


def test_a_picture_without_extension_is_a_png(run, tmp_path):
    pytest.importorskip("matplotlib")
    run.plot(tmp_path / "a")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
