"""The journal of a sweep: cut anywhere, flipped anywhere or written by somebody else, it is gone on with as it was or refused by line."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import linalign as la
from linalign.sweeps import journal
from tests.examples import times

GRID = {"rng": [0, 1, 2], "lr": [1e-2, 1e3]}


def network(rng):
    return la.Network.dense([5, 4, 3]).init("gaussian", rng=rng, scale=1.0)


def swept(path, **options):
    X, Y = np.random.default_rng(0).standard_normal((12, 5)), np.random.default_rng(1).standard_normal((12, 3))
    # those of the large rate diverge, and are kept as such
    return la.sweep(network, X, Y, grid=GRID, steps=20, record={"loss": 7, "alignment": 9}, threads=1, path=path, **options)


def told(found):
    """All that a sweep says but how long it took."""
    columns = {name: [str(value) for value in found[name].ravel()] for name in journal.COLUMNS if name != "seconds"}
    return columns, {name: [str(kept.steps.tolist()), kept.values.tobytes()] for name, kept in found.histories.items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep") / "journal"
    found = told(swept(path))
    return path.read_bytes(), found


def test_lines_are_json_and_end_with_their_checksum(whole):
    lines = whole[0].splitlines()
    assert len(lines) == 7
    for text in lines:
        assert list(json.loads(text))[-1] == "check"
        assert journal.line({k: v for k, v in json.loads(text).items() if k != "check"}) == text + b"\n"


def test_cut_anywhere_what_is_left_is_gone_on_with(tmp_path, whole):
    content, wanted = whole
    path = tmp_path / "journal"
    first = content.index(b"\n") + 1
    for cut in [0, 1, first - 1, first, first + 1, *range(first, len(content), max(1, len(content) // times(12, 500)))]:
        path.write_bytes(content[:cut])
        assert told(swept(path)) == wanted
        again = path.read_bytes()
        assert again.startswith(content[: content[:cut].rfind(b"\n") + 1])
        assert len(again.splitlines()) == 7


def reads(path):
    """The finished runs; None if the file was refused as it should be."""
    described = {
        name: value for name, value in json.loads(path.with_name("header").read_text()).items() if name not in (journal.NAME, "check")
    }
    try:
        found = journal.Journal(path, described)
    except ValueError as error:
        message = str(error)
        assert str(path) in message
        assert "\n" not in message
        assert len(message) < 1000
        return None
    found.close()
    return found.done


def compared(done):
    return {
        index: [str(outcome.columns()), {k: (h.steps.tolist(), h.values.tobytes()) for k, h in outcome.history.items()}]
        for index, outcome in done.items()
    }


def test_no_flipped_bit_is_read_as_another_number(tmp_path, whole):
    content, path, rng = whole[0], tmp_path / "journal", np.random.default_rng(0)
    path.with_name("header").write_bytes(content.splitlines()[0])
    path.write_bytes(content)
    wanted = compared(reads(path))
    assert len(wanted) == 6
    seen = {"refused": 0, "kept": 0}
    every = 8 * len(content)
    for bit in rng.choice(every, times(400, every), replace=False):
        broken = bytearray(content)
        broken[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(broken)
        found = reads(path)
        seen["refused" if found is None else "kept"] += 1
        # the last line without its end is what a kill leaves of one
        assert found is None or compared(found).items() <= wanted.items()
        assert found is None or bit // 8 == len(content) - 1
    assert seen["refused"] > seen["kept"]


def checked(fields):
    return journal.line({name: value for name, value in fields.items() if name != "check"})


def test_a_damaged_line_is_named(tmp_path, whole):
    path = tmp_path / "journal"
    lines = whole[0].splitlines(keepends=True)
    good = json.loads(lines[3])
    for change, message in (
        ({"index": 6}, "index of the run is 6; 0 to 5 was wanted"),
        ({"index": -1}, "index of the run is -1; 0 to 5 was wanted"),
        ({"index": "../../x"}, "index of the run is '../../x'; a whole number was wanted"),
        ({"steps": 2.5}, "steps of the run is 2.5; a whole number was wanted"),
        ({"steps": 10**30}, f"steps of the run is {10**30}; 0 to {2**53} was wanted"),
        ({"converged": 3}, "converged of the run is 3; true or false was wanted"),
        ({"loss": "x"}, "loss of the run is 'x'; a number was wanted"),
        ({"loss": 10**400}, "int too large to convert to float"),
        ({"error": 5}, "error of the run is 5; text was wanted"),
        ({"history": []}, "history of the run is []; an object was wanted"),
        ({"history": {"loss": 3}}, "history of 'loss' is no pair of arrays"),
        ({"history": {"loss": [["<i8", [1], "AAAAAAAAAAA="], ["|O", [1], "AAAAAAAAAAA="]]}}, "'loss' has dtype '|O'"),
        ({"history": {"loss": [["<i8", [1], "AAAAAAAAAAA="], ["f8,f8", [1], "AAAAAAAAAAA="]]}}, "'loss' has dtype 'f8,f8'"),
        ({"history": {"loss": [["<i8", [1], "AAAAAAAAAAA="], ["<f8", [10**12], "AAAAAAAAAAA="]]}},
         "'loss' has 8 bytes for shape [1000000000000] of float64"),
        ({"history": {"loss": [["<i8", [1], "AAAAAAAAAAA="], ["<f8", [-1], "AAAAAAAAAAA="]]}}, "'loss' has shape [-1]"),
        ({"history": {"loss": [["<i8", [1], "AAAAAAAAAAA="], ["<f8", [1], "AA*AAAAAAAAA="]]}}, None),
        ({"history": {"loss": [["<i8", [1], "AAAAAAAAAAA="], ["<f8", [0], ""]]}}, "history of 'loss' has (0,) values at (1,) steps"),
    ):  # fmt: skip
        path.write_bytes(b"".join([*lines[:3], checked(good | change), *lines[4:]]))
        before = path.read_bytes()
        wanted = ".*" if message is None else re.escape(message)
        with pytest.raises(
            ValueError, match=rf"^line 4 of {re.escape(str(path))} is damaged \({wanted}\); delete it to have its run made again$"
        ):
            swept(path)
        assert path.read_bytes() == before
    for text in (b"[" * 10**5, b"9" * 10**5, b"{}", b"", b"\xff", b'{"index": 1, "check": "00000000"}'):
        path.write_bytes(b"".join([*lines[:3], text + b"\n", *lines[4:]]))
        with pytest.raises(ValueError, match=f"^line 4 of {re.escape(str(path))} is damaged"):
            swept(path)
    path.write_bytes(b"".join([*lines[:3], *lines[4:]]))
    assert told(swept(path)) == whole[1]


def test_a_damaged_header_is_no_other_sweep(tmp_path, whole):
    path = tmp_path / "journal"
    first, *rest = whole[0].splitlines(keepends=True)
    flipped = first.replace(b'"steps": 20', b'"steps": 22')
    path.write_bytes(b"".join([flipped, *rest]))
    with pytest.raises(
        ValueError, match=r"^line 1 of .* is damaged \(its checksum is another\), which says what was swept; pass another path$"
    ):
        swept(path)
    header = json.loads(first)
    for name in ("grid", "options", "data"):
        path.write_bytes(checked(header | {name: 3}))
        with pytest.raises(ValueError, match=rf"^line 1 of .* is damaged \({name} of the header is 3; "):
            swept(path)
    for version in (3, "x", True, None):
        path.write_bytes(checked(header | {journal.NAME: version}))
        with pytest.raises(ValueError, match=f"has format {version!r}; this version reads format 2 and 1"):
            swept(path)


def test_journals_of_before_there_were_checksums_are_gone_on_with(tmp_path, whole):
    path = tmp_path / "journal"
    first, *rest = [json.loads(text) for text in whole[0].splitlines()]
    old = [first | {journal.NAME: 1}, *rest[:3]]
    path.write_text("".join(json.dumps({k: v for k, v in fields.items() if k != "check"}) + "\n" for fields in old))
    before = path.read_bytes()
    assert told(swept(path)) == whole[1]
    after = path.read_bytes()
    assert after.startswith(before)
    added = after[len(before) :].splitlines()
    assert len(added) == 3
    # what is added is checked, there too
    assert all("check" in json.loads(text) for text in added)
    path.write_bytes(before + after[len(before) :].replace(b'"steps": 2', b'"steps": 3', 1))
    with pytest.raises(ValueError, match=r"^line [567] of .* is damaged \(its checksum is another\)"):
        swept(path)


def test_histories_of_any_name_come_back(tmp_path):
    X, Y = np.random.default_rng(0).standard_normal((12, 5)), np.random.default_rng(1).standard_normal((12, 3))
    names = ["a\0b", "n" * 70_000, "\ud800", "\x85", "\u2028", "\r"]  # bytes.splitlines would end a line at some
    options = {"grid": {"rng": [0, 1]}, "lr": 1e-2, "steps": 5, "threads": 1, "path": tmp_path / "journal"}
    options["record"] = dict.fromkeys(names, (2, one))
    found = la.sweep(network, X, Y, **options)
    again = la.sweep(network, X, Y, **options)
    assert list(again.histories) == list(found.histories) == names
    assert len((tmp_path / "journal").read_bytes().split(b"\n")) == 4


def one(net):
    return 1.0
