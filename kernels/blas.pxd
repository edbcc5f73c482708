# Row-major BLAS. The swap of operands to column-major order lives here and nowhere else.

from scipy.linalg.cython_blas cimport sgemm, dgemm
from types cimport real


cdef inline void gemm(bint ta, bint tb, int m, int n, int k, double alpha, const real* A, int lda,
                      const real* B, int ldb, double beta, real* C, int ldc) noexcept nogil:
    """C (m, n) = alpha * op(A) (m, k) @ op(B) (k, n) + beta * C; beta = 0 never reads C."""
    cdef char fa = b'T' if ta else b'N'
    cdef char fb = b'T' if tb else b'N'
    cdef real al = <real>alpha
    cdef real be = <real>beta
    # row-major C = A B is column-major C' = B' A'
    if real is float:
        sgemm(&fb, &fa, &n, &m, &k, &al, <float*>B, &ldb, <float*>A, &lda, &be, C, &ldc)
    else:
        dgemm(&fb, &fa, &n, &m, &k, &al, <double*>B, &ldb, <double*>A, &lda, &be, C, &ldc)
