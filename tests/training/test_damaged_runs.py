"""Runs in files that were cut, flipped or made to hurt: refused by name, never read as other numbers, and nothing of theirs believed."""

from __future__ import annotations

import copy
import json
import re

import numpy as np
import pytest

import linalign as la
from tests.examples import times

from .test_resume import problem

LAYERS = [la.layers.Masked(np.tri(8, dtype=bool)), la.Toeplitz(8, 6), la.layers.Residual(la.Dense(6, 6, bias=True)),
          la.layers.Tied(np.arange(18).reshape(3, 6) % 5)]  # fmt: skip
KINDS = {
    "plain": {"record": {"loss": 3, "alignment": 5}},
    "adam": {"optimizer": "adam", "average": 0.9, "batch": 4, "rng": 0, "record": {"loss": 3}},
    "noise": {"label_noise": 0.1, "rng": 0, "momentum": 0.5, "batch": 3, "order": "replacement"},
    "layers": {"momentum": 0.9},
}


def made(kind):
    net, X, Y = problem()
    if kind == "layers":
        net = la.Network(LAYERS).init("gaussian", rng=0)
    return la.train(net, X, Y, lr=1e-3, steps=20, **KINDS[kind])


def told(run):
    """All that a file holds, in two values that can be compared."""
    arrays = {}
    described = [run.kept.describe(arrays), run.plan, run.floor, run.steps, run.converged, run.interrupted, run.stopped, run.seconds]
    arrays |= {f"p{i}": theta for i, theta in enumerate(run.network.params)} | {"excess": run.excess, "lr": run.lr}
    arrays |= {f"a{i}": theta for i, theta in enumerate(run.average.params if run.average else [])}
    for name, kept in run.history.items():
        arrays |= {f"s{name}": kept.steps, f"v{name}": kept.values}
    return described, {name: (array.shape, array.dtype.str, array.tobytes()) for name, array in arrays.items()}


def loads(path):
    """The run; None if it was refused as it should be."""
    try:
        return la.load(path)
    except ValueError as error:
        message = str(error)
        assert re.match(re.escape(str(path)) + r" (holds no run|has format .{1,90};)", message), message
        assert "\n" not in message
        assert len(message) < 1000
        return None


@pytest.mark.parametrize("kind", KINDS)
def test_cut_anywhere_or_a_bit_flipped_it_is_refused_or_the_same(tmp_path, kind):
    # a bit of a date or an attribute of the zip says nothing of the run; all others are in a checksum, or in a size or name
    run, path, rng = made(kind), tmp_path / "run", np.random.default_rng(0)
    whole, wanted = run.save(path).read_bytes(), told(run)
    assert told(la.load(path)) == wanted
    for cut in range(0, len(whole), max(1, len(whole) // times(30, 3000))):
        path.write_bytes(whole[:cut])
        assert loads(path) is None
    refused = 0
    for _ in range(times(100, 10_000)):
        broken = bytearray(whole)
        # half of them in the directory at the end, which is a small part of the file
        at = int(rng.integers(len(whole))) if rng.random() < 0.5 else len(whole) - 1 - int(rng.integers(3000))
        broken[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(broken)
        found = loads(path)
        refused += found is None
        assert found is None or told(found) == wanted
    assert refused


HOSTILE = [-1, "x", float("nan"), None, [], {}, float("inf"), 2**70, True, False, 0, 1, 3, 10**6, 1.5, [1, 2], {"array": "excess"},
           {"type": "SGD", "fields": {}}, {"range": [0, 1, 0]}, [[[]]], "MT19937", -(2**63)]  # fmt: skip
ARRAYS = [np.zeros(0), np.zeros((2, 2)), np.array("x"), np.array(5), np.full(3, np.nan), np.arange(999), np.array([1j]), np.zeros((3, 0)),
          np.array(["a"]), -np.ones(21), np.array([10**9] * 8)]  # fmt: skip


def places(value, path=()):
    """The way to every value inside of one out of JSON."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def put(value, path, new):
    if not path:
        return new
    whole = copy.deepcopy(value)
    inner = whole
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return whole


def members(path):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_file_with_other_contents_is_refused_or_is_a_run(tmp_path, kind):
    # with right checksums: what comes through can be looked at and gone on from, or that says in one line why not
    run, path, rng = made(kind), tmp_path / "run.npz", np.random.default_rng(1)
    _, X, Y = problem()
    arrays = members(run.save(path))
    for _ in range(times(50, 5000)):
        changed = dict(arrays)
        if rng.random() < 0.7:
            name = ("run", "kept")[rng.integers(2)]
            described = json.loads(str(arrays[name]))
            found = list(places(described))
            changed[name] = np.array(json.dumps(put(described, found[rng.integers(len(found))], HOSTILE[rng.integers(len(HOSTILE))])))
        else:
            changed[sorted(arrays)[rng.integers(len(arrays))]] = ARRAYS[rng.integers(len(ARRAYS))]
        np.savez(path, **changed)
        found = loads(path)
        if found is not None:
            assert repr(found)
            assert str(found.plan)
            assert found._repr_html_()
            try:
                la.resume(found, X, Y, steps=3)
            except (ValueError, TypeError, la.DivergenceError) as error:
                assert "\n" not in str(error)  # noqa: PT017 - most go on, and none need fail


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("steps", -1, "steps of the run is -1; 0 to 9007199254740992 was wanted"),
        ("steps", "x", "steps of the run is 'x'; a whole number was wanted"),
        ("steps", True, "steps of the run is True; a whole number was wanted"),
        ("steps", 21, r"excess has shape \(21,\) and dtype float64; shape \(22,\) and floating point was wanted"),
        ("floor", float("nan"), "floor of the run is nan; a finite number was wanted"),
        ("converged", 1, "converged of the run is 1; true or false was wanted"),
        ("history", ["loss", 3], r"history\[1\] of the run is 3; text was wanted"),
        ("history", ["x"], "there is no 'steps_x'"),
        ("plan", [], r"plan of the run is \[\]; an object was wanted"),
        ("plan", {}, "the plan has no 'widths'"),
        ("layers", [{"structure": "Dense", "n_in": 10**12, "n_out": 10**12}] * 3, r"param_0 has shape \(10, 8\) .*1000000000000.*"),
        ("layers", [{}] * 3, "there is no 'structure'"),
    ],
)
def test_what_is_said_of_it(tmp_path, field, value, message):
    path = tmp_path / "run.npz"
    arrays = members(made("plain").save(path))
    described = json.loads(str(arrays["run"])) | {field: value}
    np.savez(path, **arrays | {"run": np.array(json.dumps(described))})
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))} holds no run \({message}\); Run.save writes one$"):
        la.load(path)


def test_deep_objects_and_long_numbers(tmp_path):
    path = tmp_path / "run.npz"
    arrays = members(made("plain").save(path))
    for text in ("[" * 10**5, '{"a":' * 10**5, "9" * 10**5, '{"format": 1, "steps": ' + "9" * 4000 + "}"):
        np.savez(path, **arrays | {"run": np.array(text)})
        assert loads(path) is None
        np.savez(path, **arrays | {"kept": np.array(text)})
        assert loads(path) is None


def test_places_of_a_masked_layer_are_those_of_a_matrix(tmp_path):
    path = tmp_path / "run.npz"
    arrays = members(made("layers").save(path))
    for name, at, value in (("cols", 3, 8), ("cols", 3, -1), ("cols", 2, 0), ("indptr", 2, 0), ("indptr", 8, 999), ("indptr", 0, 1)):
        changed = arrays[f"layer_0_{name}"].copy()
        changed[at] = value
        np.savez(path, **arrays | {f"layer_0_{name}": changed})
        assert loads(path) is None


def test_generators_that_stand_outside_of_what_they_have(tmp_path):
    path, (net, X, Y) = tmp_path / "run.npz", problem()
    for kind, name, value in (("MT19937", "pos", 625), ("Philox", "buffer_pos", 5)):
        rng = np.random.Generator(getattr(np.random, kind)(0))
        run = la.train(net, X, Y, lr=1e-3, steps=5, batch=4, rng=rng)
        arrays = members(run.save(path))
        assert la.resume(la.load(path), X, Y, steps=3).steps == 8
        described = json.loads(str(arrays["kept"]))
        state = described["place"]["generator"]
        (state["state"] if name in state["state"] else state)[name] = value
        np.savez(path, **arrays | {"kept": np.array(json.dumps(described))})
        assert loads(path) is None


def test_rows_that_the_data_have_not(tmp_path):
    path, (net, X, Y) = tmp_path / "run.npz", problem()
    arrays = members(la.train(net, X, Y, lr=1e-3, steps=5, batch=4, rng=0).save(path))
    described = json.loads(str(arrays["kept"]))
    described["place"]["left"][0] = 10**9
    np.savez(path, **arrays | {"kept": np.array(json.dumps(described))})
    with pytest.raises(ValueError, match=f"^the run goes on with row 1000000000 of an epoch but X has {len(X)} rows"):
        la.resume(la.load(path), X, Y, steps=3)


# ---- names -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["a\0b", "n" * 70_000, "../outside", "/etc/x", "\ud800", "", "#0", "é", "a\nb", "steps_loss"], ids=range(10)
)
def test_records_of_any_name_come_back(tmp_path, name):
    # a name is text in the description, and no name of an array unless it is a plain one
    net, X, Y = problem()
    named = name or "x"
    run = la.train(net, X, Y, lr=1e-3, steps=6, record={"loss": 2, named: (3, lambda net: 1.5), "other": (2, lambda net: 2.5)})
    again = la.load(run.save(tmp_path / "run.npz"))
    assert list(again.history) == ["loss", named, "other"]
    assert told(again)[1] == told(run)[1]
    assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]


def test_options_whose_keys_begin_one_another(tmp_path):
    # {"a": {"b_0": x}, "a_b": ...}: arrays were called after the keys, and the second took the place of the first
    net, X, Y = problem()
    record = {"loss": np.array([2, 4]), "loss_0": (np.array([1, 3]), lambda net: 1.0)}
    run = la.train(net, X, Y, lr=np.array([1e-3, 2e-3, 3e-3]), steps=6, record={"loss": record["loss"]})
    again = la.load(run.save(tmp_path / "run.npz"))
    assert np.array_equal(again.kept.asked()["record"]["loss"], [2, 4])
    assert np.array_equal(again.kept.asked()["lr"], [1e-3, 2e-3, 3e-3])
    tangled = {"a": {"b_0": np.zeros(1)}, "a_b": {"0": np.ones(1)}}
    arrays = {}
    from linalign.training.described import decode, encode

    assert np.array_equal(decode(encode(tangled, "x", arrays), arrays)["a"]["b_0"], [0.0])


def test_arrays_beside_a_run(tmp_path):
    run, path = made("plain"), tmp_path / "run.npz"
    run.save(path, mine=np.arange(3), note="text")
    assert told(la.load(path)) == told(run)
    assert np.array_equal(members(path)["mine"], [0, 1, 2])
    for name in ("excess", "param_7", "layer_0_index", "run", "file", "a\0", "n" * 2000):
        with pytest.raises(ValueError, match="is no name for an array beside a run"):
            run.save(path, **{name: np.zeros(1)})
    with pytest.raises(TypeError, match="mine is an array of objects, which would be pickled; pass numbers or text"):
        run.save(path, mine=[object()])


def test_a_path_may_be_bytes(tmp_path):
    run, (net, X, Y) = made("plain"), problem()
    path = tmp_path / "läuft.npz"
    assert run.save(bytes(path)) == path
    assert told(la.load(bytes(path))) == told(run)
    with pytest.raises(FileNotFoundError):
        la.load(b"nowhere")
    weights = tmp_path / "weights.npz"
    assert net.save_weights(bytes(weights)) == weights
    assert np.array_equal(net.load_weights(bytes(weights)).params[0], net.params[0])
    kept = tmp_path / "kept"
    la.train(net, X, Y, lr=1e-3, steps=5, checkpoint=bytes(kept))
    assert la.load(kept).steps == 5
    journal = tmp_path / "journal"
    la.sweep(lambda rng: net.init("gaussian", rng=rng), X, Y, grid={"rng": [0, 1]}, lr=1e-3, steps=2, path=bytes(journal),
             checkpoint=bytes(tmp_path / "under way"), threads=1)  # fmt: skip
    assert len(journal.read_bytes().splitlines()) == 3
