"""One dense product by itself, as the loop makes it: for tests and for `bench/products.py`."""

from products cimport Machine, la_tile_of, lay_out_panels, product
from handover cimport address

from time import perf_counter

import numpy as np

from ._machine import buffer

cdef extern from "la_team.h":
    int la_team_watch() noexcept nogil


if la_team_watch():
    raise ImportError("this process cannot be told of its forks, for want of memory")


def multiply(bint ta, bint tb, double alpha, A, B, double beta, C, *, int level, int most, long repeats=1, int threads=1,
             Py_ssize_t wake=150000, int least=0, Py_ssize_t cache=400000):
    """`C = alpha op(A) op(B) + beta C`, `repeats` times; how many seconds that took, without the room for it.

    The three are `buffer`s of one dtype with `most`; a tile is used as the loop would use it, and packed panels from `least` on.
    """
    cdef Machine machine
    dtype = A.dtype
    scratch = buffer(threads * most, most, dtype, most)
    machine.room = most * most
    machine.level, machine.most, machine.threads = level, most, threads
    machine.wake, machine.cache = wake, cache
    machine.tile = la_tile_of(level)
    machine.scratch = <void*>address(scratch)
    cdef int m = C.shape[0], n = C.shape[1], k = A.shape[0 if ta else 1]
    panels = buffer(1, lay_out_panels(&machine, least, max(m, n, k), dtype.itemsize), np.uint8, 0)
    machine.panels = <void*>address(panels) if machine.least else NULL
    cdef size_t a = address(A), b = address(B), c = address(C)
    cdef int lda = A.strides[0] // dtype.itemsize, ldb = B.strides[0] // dtype.itemsize, ldc = C.strides[0] // dtype.itemsize
    cdef bint single = dtype == np.float32
    cdef long _t
    cdef double began = perf_counter()
    with nogil:
        for _t in range(repeats):
            if single:
                product(&machine, ta, tb, m, n, k, alpha, <float*>a, lda, <float*>b, ldb, beta, <float*>c, ldc)
            else:
                product(&machine, ta, tb, m, n, k, alpha, <double*>a, lda, <double*>b, ldb, beta, <double*>c, ldc)
    return perf_counter() - began
