"""What this processor and this build offer, the numbers that Python and C share, and how a matrix lies in memory."""

from types cimport (LINE, ARM, BASE, NEON, AVX2, AVX512, la_detect, DENSE, TIED, BASIS, FIXED, DIAGONAL, BLOCKS, SPARSE, CONV, SQUARED,
                    LOGISTIC, EXPONENTIAL, CROSS_ENTROPY, ENTRIES, SENSING, END_TO_END, HUBER, HINGE, SQUARED_HINGE, RUNNING,
                    CONVERGED, DIVERGED, CALLBACK_FAILED, SGD, ADAM, RMSPROP, ADAGRAD, SIGN, NORMALISED, GROUP_RMSPROP,
                    NEWTON_SCHULZ)
from memory cimport PAGE, la_paged, la_use_pages, padding as padded_columns
from handover cimport address

import numpy as np

cdef extern from *:
    """
    #ifdef _OPENMP
    #define LA_SHARES 1
    #else
    #define LA_SHARES 0
    #endif
    """
    const int LA_DEBUG
    const int LA_NATIVE
    const int LA_SHARES

cdef extern from "la_cpu.h":
    ctypedef struct la_cpu:
        const char* vendor
        int family
        int model
        int fp16
        int amx
    la_cpu la_cpu_of() nogil

# instruction sets by name; the order is that of what they can do
LEVELS = {"base": BASE, "neon": NEON} if ARM else {"base": BASE, "avx2": AVX2, "avx512": AVX512}
# kinds of layers, losses, answers of a run and update rules (types.pxd), by the names that Python has for them
KINDS = {
    "dense": DENSE, "tied": TIED, "basis": BASIS, "fixed": FIXED, "diagonal": DIAGONAL, "blocks": BLOCKS, "sparse": SPARSE, "conv": CONV,
}
LOSSES = {
    "squared": SQUARED, "logistic": LOGISTIC, "exponential": EXPONENTIAL, "cross_entropy": CROSS_ENTROPY, "entries": ENTRIES,
    "sensing": SENSING, "end_to_end": END_TO_END, "huber": HUBER, "hinge": HINGE, "squared_hinge": SQUARED_HINGE,
}
STATUSES = {"running": RUNNING, "converged": CONVERGED, "diverged": DIVERGED, "callback failed": CALLBACK_FAILED}
RULES = {
    "sgd": SGD, "adam": ADAM, "rmsprop": RMSPROP, "adagrad": ADAGRAD, "sign": SIGN, "normalised": NORMALISED,
    "group_rmsprop": GROUP_RMSPROP, "newton_schulz": NEWTON_SCHULZ,
}
# bytes of a cache line and of the longest vector: short rows are padded to whole ones, and a chain of no longer ones fits in registers
LINE_BYTES = LINE


def detect() -> int:
    """The best instruction set of this processor, a value of `LEVELS`."""
    return la_detect()


def processor() -> tuple:
    """`(vendor, family, model, set of features)` as CPUID says; an empty vendor where there is no such thing."""
    cdef la_cpu found = la_cpu_of()
    features = {name for name, there in (("avx512_fp16", found.fp16), ("amx", found.amx)) if there}
    return (<bytes>found.vendor).decode("ascii", "replace"), found.family, found.model, frozenset(features)


def build() -> list:
    """How this module was built."""
    found = ["debug checks"] if LA_DEBUG else ["optimised"]
    if LA_NATIVE:
        found.append("-march=native: this build runs on processors like this one only")
    return found


def shares() -> bool:
    """Whether products can be shared out among threads."""
    return LA_SHARES != 0


def padding(int columns, int itemsize, int most) -> int:
    """The leading dimension of rows of that many columns: those of at most `most` are padded to whole vectors for the tile."""
    return padded_columns(columns, itemsize, most)


def buffer(int rows, int columns, dtype, int most) -> np.ndarray:
    """A zeroed matrix that starts on a cache line, or a large page if it is as large, as a view of its padded rows."""
    cdef int itemsize = np.dtype(dtype).itemsize, ld = padded_columns(columns, itemsize, most)
    cdef size_t size = <size_t>rows * ld * itemsize, paged = la_paged(size) if size >= 2 * PAGE else 0, step = PAGE if paged else LINE
    raw = np.empty(max(size, paged) + step, dtype=np.uint8)
    cdef size_t begins = (step - address(raw) % step) % step
    la_use_pages(<void*>(<size_t>address(raw) + begins), paged)
    # touched here, and not page by page in the first steps
    raw[begins : begins + size].fill(0)
    return np.ndarray((rows, columns), dtype, raw, begins, (ld * itemsize, itemsize))
