"""One dense product by itself, as the loop makes it: for tests and for `bench/products.py`."""

from products cimport Machine, la_tile_of, product
from handover cimport address

import numpy as np

from ._machine import buffer

cdef extern from "la_team.h":
    int la_team_watch() noexcept nogil


if la_team_watch():
    raise ImportError("this process cannot be told of its forks, for want of memory")


def multiply(bint ta, bint tb, double alpha, A, B, double beta, C, *, int level, int most, long repeats=1, int threads=1,
             Py_ssize_t wake=150000):
    """`C = alpha op(A) op(B) + beta C`, `repeats` times.

    The three are `buffer`s of one dtype with `most`; a tile is used as the loop would use it.
    """
    cdef Machine machine
    dtype = A.dtype
    scratch = buffer(threads * most, most, dtype, most)
    machine.room = most * most
    machine.level, machine.most, machine.threads = level, most, threads
    machine.wake, machine.cache = wake, 0
    machine.tile = la_tile_of(level)
    machine.scratch = <void*>address(scratch)
    cdef int m = C.shape[0], n = C.shape[1], k = A.shape[0 if ta else 1]
    cdef size_t a = address(A), b = address(B), c = address(C)
    cdef int lda = A.strides[0] // dtype.itemsize, ldb = B.strides[0] // dtype.itemsize, ldc = C.strides[0] // dtype.itemsize
    cdef bint single = dtype == np.float32
    cdef long _t
    with nogil:
        for _t in range(repeats):
            if single:
                product(&machine, ta, tb, m, n, k, alpha, <float*>a, lda, <float*>b, ldb, beta, <float*>c, ldc)
            else:
                product(&machine, ta, tb, m, n, k, alpha, <double*>a, lda, <double*>b, ldb, beta, <double*>c, ldc)
