"""Damaged files for whatever reads files: `python -m tests.search.files [--cases N] [--seconds S] [kind ...]`, N and S a kind.

By atheris (libFuzzer on what Python covers) where it is installed, else by damage at random. Each kind begins with whole files that it
reads; half of the damage is done inside, to a member of an archive or a line of a journal, and the checksums are right again. What is read
is read, and anything else is refused by a `ValueError` of one line: any other error, and a case that takes ten seconds of the processor or
hangs, ends the search with the bytes in `.fuzz/<kind>`, from where they are tried first the next time.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import importlib.util
import io
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from tests.examples import ROOT

KEPT = ROOT / ".fuzz"
# of the processor; on the clock, which goes on while others compute, thirty times as many
SLOW = 10
HANGS = 300
FOLDER = Path(tempfile.mkdtemp(prefix="linalign-fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
PLACES = {"csv": "t.csv", "npz": "t.npz", "npy": "t.npy", "idx": "t-images-idx3-ubyte", "gzip": "t.csv.gz"}


def import_package():
    """What is tried, so that atheris sees which of it a case covers."""
    import linalign
    import linalign.data.readers
    import linalign.layers.words
    import linalign.sweeps.journal
    import linalign.training.checkpoint

    return linalign


# ---- kinds: whole files to begin with, and what reads one -------------------------------------------------------------------


def reads(name: str) -> Callable[[bytes], None]:
    """Files of data, by their ending."""
    path = FOLDER / PLACES[name]

    def one(content: bytes) -> None:
        la = import_package()
        path.write_bytes(content)
        if name == "idx":
            # labels for as many images as the seeds have
            (FOLDER / "t-labels-idx1-ubyte").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, 3) + bytes([0, 1, 2]))
        la.data.load(path)

    return one


def loads(content: bytes) -> None:
    la = import_package()
    path = FOLDER / "run.npz"
    path.write_bytes(content)
    run = la.load(path)
    assert len(run.loss) == run.steps + 1


def _swept(path: Path) -> object:
    import numpy as np

    la = import_package()
    X = np.arange(6.0).reshape(3, 2)
    return la.sweep(
        lambda rng: la.Network.dense([2, 2, 1]).init("gaussian", rng=rng), X, X[:, :1], grid={"rng": range(2)}, lr=1e-3, steps=2,
        threads=1, record={"loss": 1}, path=path,
    )  # fmt: skip


def journals(content: bytes) -> None:
    path = FOLDER / "kept"
    path.write_bytes(content)
    _swept(path)


def _checkpointed(path: Path) -> object:
    import numpy as np

    la = import_package()
    X = np.arange(6.0).reshape(3, 2)
    return la.train(la.Network.dense([2, 2, 1]).init("gaussian", rng=0), X, X[:, :1], lr=1e-3, steps=3, checkpoint=path)


def checkpoints(content: bytes) -> None:
    la = import_package()
    path = FOLDER / "mark.npz"
    path.write_bytes(content)
    # numbers that are right and large
    with contextlib.suppress(la.DivergenceError):
        _checkpointed(path)


def words(content: bytes) -> None:
    la = import_package()
    text = content.decode("utf-8", "replace")
    for inputs in ((6,), (4, 5), (2, 4, 5)):
        with contextlib.suppress(ValueError):
            assert la.layers.words.parse(text, inputs)


def seeds() -> dict[str, list[bytes]]:
    """Whole files of every kind."""
    import numpy as np

    la = import_package()
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((3, 4)), np.array([0, 1, 2])

    def saved(save, *arrays, **named):
        file = io.BytesIO()
        save(file, *arrays, **named)
        return file.getvalue()

    net = la.Network.dense([4, 3, 2]).init("gaussian", rng=0)
    options = {"lr": 1e-3, "steps": 4, "record": {"loss": 2, "alignment": 2}, "momentum": 0.5}
    run = la.train(net, X, X[:, :2], **options)
    conv = la.Network([la.Conv2d((2, 2), 2), la.Toeplitz(4, 2)]).init("gaussian", rng=0)
    drawn = la.train(conv, X, X[:, :2], lr=1e-3, steps=3, batch=2, rng=0, optimizer="adam", average=0.5)
    marks, sweeps = FOLDER / "seed-mark.npz", FOLDER / "seed-kept"
    _checkpointed(marks)
    _swept(sweeps)
    text = b"a,b,label\n1,2,x\n3.5,-4e-3,y\n0,1,x\n"
    images = struct.pack(">4B3I", 0, 0, 8, 3, 3, 2, 2) + bytes(range(12))
    return {
        "csv": [text, b'1;2;0\n3;4;1\n"5";6;0\n', b"\xef\xbb\xbfx\ty\n1\t2\n3\t4\n", b"t,u\n2020-01-01,1\n2020-01-02,2\n"],
        "npz": [saved(np.savez, X=X, Y=Y), saved(np.savez_compressed, x_train=X, y_train=Y)],
        "npy": [saved(np.save, np.column_stack([X, Y])), saved(np.save, X.astype(np.float32))],
        "idx": [images, struct.pack(">4B3I", 0, 0, 14, 3, 3, 1, 1) + bytes(24)],
        "gzip": [gzip.compress(text, mtime=0), gzip.compress(images, mtime=0)],
        "load": [Path(run.save(FOLDER / "a.npz")).read_bytes(), Path(drawn.save(FOLDER / "b.npz")).read_bytes()],
        "journal": [sweeps.read_bytes()],
        "checkpoint": [marks.read_bytes()],
        "words": [
            b"conv 3x3 circular 2 channels stride 2, dense 10",
            b"residual dense bias, blocks 2 4, toeplitz 3, skew",
            b"conv 2, dense",
        ],
    }


KINDS: dict[str, Callable[[bytes], None]] = {
    **{name: reads(name) for name in PLACES},
    "load": loads, "journal": journals, "checkpoint": checkpoints, "words": words,
}  # fmt: skip


def case(kind: str, content: bytes) -> None:
    """Read or refused. Raises: whatever else there was."""
    began, refused = time.process_time(), None
    try:
        KINDS[kind](content)
    except ValueError as error:
        refused = error
    # a UnicodeError is a ValueError that nobody has written for the reader
    assert not isinstance(refused, UnicodeError), repr(refused)
    assert "\n" not in str(refused), repr(refused)
    assert time.process_time() - began < SLOW, f"{time.process_time() - began:.0f} s"


# ---- the search ------------------------------------------------------------------------------------------------------------


def damaged(rng: random.Random, content: bytes) -> bytes:
    """A few bytes changed, cut out, or put in twice."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not found:
            break
        at, size = rng.randrange(len(found)), rng.choice((1, 1, 2, 4, 8, 64))
        what = rng.randrange(5)
        if what == 0:
            found[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            found[at : at + size] = rng.randbytes(size)
        elif what == 2:
            del found[at : at + size]
        elif what == 3:
            found[at:at] = found[at : at + size]
        else:
            found[at : at + size] = rng.choice((b"\0", b"\xff")) * size
    return bytes(found)


def inside(rng: random.Random, content: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The same file with one member of an archive, or one line of a journal, changed, and right checksums: others are refused for these."""
    if content[:2] == b"\x1f\x8b":
        with contextlib.suppress(OSError, EOFError, zlib.error):
            return gzip.compress(change(gzip.decompress(content)), compresslevel=1, mtime=0)
    if content[:2] == b"PK":
        with contextlib.suppress(Exception), zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
            chosen = rng.choice(sorted(members))
            members[chosen] = _changed_array(members[chosen], change) if rng.random() < 0.8 else change(members[chosen])
            made = io.BytesIO()
            with zipfile.ZipFile(made, "w") as copy:
                for name, member in members.items():
                    copy.writestr(name, member)
            return made.getvalue()
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    text, found, _ = lines[at].rpartition(b', "check": "')
    if found:
        text = change(text)
        lines[at] = text + found + f'{zlib.crc32(text):08x}"}}'.encode()
        return b"\n".join(lines)
    return change(content)


def _changed_array(member: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """An array with other bytes in its shape; one that is a text (JSON, which says what the others are), with another text."""
    import numpy as np

    array, made = np.load(io.BytesIO(member), allow_pickle=False), io.BytesIO()
    if array.dtype.kind == "U" and array.ndim == 0:
        array = np.array(change(str(array).encode()).decode("utf-8", "replace"))
    else:
        content = change(array.tobytes())[: array.nbytes].ljust(array.nbytes, b"\0")
        array = np.frombuffer(content, array.dtype).reshape(array.shape)
    np.save(made, array)
    return made.getvalue()


def by_chance(kind: str, cases: int, seconds: float, seed: int) -> int:
    """Cases that were tried. What fails is kept, and raised."""
    rng, whole, began, tried = random.Random(seed), seeds()[kind], time.monotonic(), 0
    for content in [*whole, *(path.read_bytes() for path in sorted((KEPT / kind).glob("*")) if path.is_file())]:
        case(kind, content)
    while tried < cases and time.monotonic() - began < seconds:
        content = rng.choice(whole)
        content = inside(rng, content, lambda part: damaged(rng, part)) if rng.random() < 0.5 else damaged(rng, content)
        try:
            case(kind, content)
        except BaseException:
            (KEPT / kind).mkdir(parents=True, exist_ok=True)
            (KEPT / kind / f"crash-{seed}-{tried}").write_bytes(content)
            raise
        tried += 1
    return tried


def by_coverage(kind: str, cases: int, seconds: float) -> None:
    """Never returns: libFuzzer ends the process, with 0 where nothing was found."""
    import atheris

    with atheris.instrument_imports(include=["linalign", "zipfile", "gzip", "csv", "numpy.lib.format"]):
        import_package()
    corpus = KEPT / kind
    corpus.mkdir(parents=True, exist_ok=True)
    for i, content in enumerate(seeds()[kind]):
        (corpus / f"seed-{i}").write_bytes(content)
    limits = [f"-runs={cases}", f"-timeout={HANGS}", "-rss_limit_mb=4096", "-max_len=20000", "-print_final_stats=1"]
    limits += [f"-max_total_time={int(seconds)}"] if seconds < float("inf") else []

    def mutated(content: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.5:
            return atheris.Mutate(content, most)
        found = inside(rng, content, lambda part: atheris.Mutate(part, len(part) + 64))
        return found if len(found) <= most else atheris.Mutate(content, most)

    command = [sys.argv[0], str(corpus), f"-artifact_prefix={corpus}/", *limits]
    atheris.Setup(command, lambda content: case(kind, content), custom_mutator=mutated)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kinds", nargs="*", choices=[[], *KINDS])
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--by-chance", action="store_true", help="without atheris")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    covering = not asked.by_chance and importlib.util.find_spec("atheris") is not None
    if asked.alone:
        by_coverage(asked.kinds[0], asked.cases, asked.seconds)
    failed = []
    for kind in asked.kinds or KINDS:
        if covering:
            again = [sys.executable, "-m", "tests.search.files", "--alone", kind, f"--cases={asked.cases}", f"--seconds={asked.seconds}"]
            done = subprocess.run(again, capture_output=True, text=True, errors="replace", check=False)
            lines = done.stderr.splitlines()
            tried = next((line.split()[-1] for line in lines if "number_of_executed_units" in line), "?")
            if done.returncode:
                failed.append(kind)
                print(done.stdout[-3000:], done.stderr[-6000:])
        else:
            tried = str(by_chance(kind, asked.cases, asked.seconds, seed=time.time_ns()))
        print(f"{kind}: {tried} cases, {'by coverage' if covering else 'by chance'}{', FAILED' if kind in failed else ''}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
