"""A program whose allocations are refused one after the other; `python -m tests.faults.memory_child SHIM KIND EVERY` prints what came.

The shim is loaded before the C library (LD_PRELOAD). `KIND` is "_kernels/" for the allocations of our own C code, or a part of the path of
another library; every `EVERY`-th allocation is tried.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys

import numpy as np

import linalign as la
from linalign import kernels
from linalign.kernels import stacks


def net_of(layers):
    return la.Network(layers).init("gaussian", rng=0, scale=0.3)


def arrays(n=9, k=8, m=3):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, k)), rng.standard_normal((n, m))


def trained(net, X, Y, **options):
    run = la.train(net, X, Y, lr=1e-3, **{"steps": 12, **options})
    return [*run.network.params, run.excess, *(kept.values for kept in run.history.values())]


def trains(layers, data=True, **options):
    net, (X, Y) = net_of(layers), arrays()
    if not data:
        return net.params, lambda: trained(net, None, None, **options)
    return [X, Y, *net.params], lambda: trained(net, X, Y, **options)


def products():
    rng = np.random.default_rng(1)
    weights = [np.ascontiguousarray(rng.standard_normal(shape)) for shape in ((40, 8), (30, 40), (3, 30))]
    X, _ = arrays()

    def work():
        stacks._KEPT.stacks.clear()  # or the room of the call before would do
        return [kernels.forward(weights, X), *kernels.backward(weights, X, np.ones((len(X), 3)))]

    return [X, *weights], work


def projects():
    layer, matrix = la.Toeplitz(6, 5), np.random.default_rng(2).standard_normal((5, 6))
    return [matrix], lambda: [kernels.project(layer, matrix)]


def objective():
    net, (X, Y) = net_of([la.Dense(8, 6), la.Dense(6, 3)]), arrays()

    def work():
        value, gradients = la.value_and_grad(net, X, Y)
        return [np.array(value), *gradients]

    return [X, Y, *net.params], work


def sweeps():
    X, Y = arrays()

    def work():
        found = la.sweep(lambda rng: la.Network.dense([8, 6, 3]).init("gaussian", rng=rng, scale=0.3), X, Y, grid={"rng": [0, 1]}, lr=1e-3,
                         steps=5, threads=1)  # fmt: skip
        errors = [error for error in found["error"].ravel() if error is not None]
        if errors:
            raise MemoryError(errors[0]) if errors[0].startswith("MemoryError: ") else AssertionError(errors[0])
        return [found.loss]

    return [X, Y], work


DENSE = [la.Dense(8, 30), la.Dense(30, 20), la.Dense(20, 3)]
CASES = {
    "dense": lambda: trains(DENSE, record={"alignment": 3, "loss": 2}),
    "registers": lambda: trains([la.Dense(8, 4), la.Dense(4, 3)]),
    "cyclic": lambda: trains(DENSE, update="cyclic"),
    "momentum": lambda: trains(DENSE, momentum=0.9, weight_decay=0.01),
    "adam on batches": lambda: trains(DENSE, optimizer="adam", batch=4, rng=0),
    "muon": lambda: trains(DENSE, optimizer="muon"),
    "noise": lambda: trains(DENSE, label_noise=0.1, batch=3, rng=0),
    "structured": lambda: trains([la.Toeplitz(8, 8), la.Circulant(8), la.layers.Masked(np.tri(8, dtype=bool)), la.Dense(8, 3, bias=True)]),
    "stripes": lambda: trains([la.Toeplitz(8, 60), la.Toeplitz(60, 50), la.Toeplitz(50, 3)]),
    "convolution": lambda: trains([la.layers.Conv1d(8, 3, 1, 2), la.layers.Residual(la.Dense(16, 16)), la.Dense(16, 3)]),
    "basis": lambda: trains([la.layers.Subspace(np.random.default_rng(3).standard_normal((4, 6, 8))), la.Dense(6, 3)]),
    "split": lambda: trains([la.layers.BlockDiagonal(((4, 4), (4, 4))), la.Dense(8, 3)], momentum=0.5),
    "interior pivot": lambda: trains(DENSE, pivot=1, reduce="none"),
    "completion": lambda: trains(DENSE, loss=la.losses.Entries([0, 2], [1, 7], [1.0, 2.0]), data=False),
    "products": products,
    "projections": projects,
    "gradients": objective,
    "sweep": sweeps,
}  # fmt: skip


def bits(found):
    return [(array.shape, array.tobytes()) for array in map(np.asarray, found)]


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def main(shim, where, every):
    library = ctypes.CDLL(shim)
    library.la_fault_count.restype = ctypes.c_long
    told = {}
    for name, make in CASES.items():
        given, work = make()
        wanted, before = bits(work()), bits(given)
        work()
        library.la_fault_arm(where.encode(), ctypes.c_long(2**60))
        work()
        count = library.la_fault_count()
        seen = {"allocations": count, "refused": 0, "unnoticed": 0}
        opened = descriptors()
        for n in range(1, count + 1, every):
            library.la_fault_arm(where.encode(), ctypes.c_long(n))
            try:
                found = work()
            except MemoryError:
                library.la_fault_count()
                seen["refused"] += 1
            else:
                library.la_fault_count()
                # who has another way without the memory took it
                assert bits(found) == wanted, (name, n)
                seen["unnoticed"] += 1
            assert bits(given) == before, (name, n)
        assert bits(work()) == wanted, name
        gc.collect()
        assert descriptors() == opened, name
        told[name] = seen
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
