# Types that the kernels share. Header only: no .pyx of this name (style.md, the cimport trap).

from libc.stddef cimport ptrdiff_t

ctypedef fused real:
    float
    double

# The first four have a matrix that the dense products use; the others have products of their own.
cdef enum Kind:
    DENSE = 0
    TIED = 1
    BASIS = 2
    FIXED = 3
    DIAGONAL = 4
    BLOCKS = 5
    SPARSE = 6
    CONV = 7

cdef enum LossKind:
    SQUARED = 0
    LOGISTIC = 1
    EXPONENTIAL = 2
    CROSS_ENTROPY = 3
    ENTRIES = 4
    SENSING = 5
    END_TO_END = 6

cdef enum Status:
    RUNNING = 0
    CONVERGED = 1
    DIVERGED = 2
    CALLBACK_FAILED = 3

cdef extern from "la_structured.h":
    ctypedef struct la_conv:
        int c_in, h_in, w_in, c_out, h_out, w_out, kh, kw, sh, sw, top, left, circular
    ptrdiff_t la_conv_layout(la_conv*) noexcept nogil
    ctypedef struct la_runs:
        int count
        const int* row
        const int* column
        const int* length
        const int* parameter
        const int* step
        const int* sign

cdef struct Structure:
    # what a constrained layer has besides its parameters; unused pointers are NULL
    Py_ssize_t size       # parameters
    void* raw             # <A_k, G>, one for each thread of a convolution
    double* scale         # Gram^-1 where it is diagonal and the metric asks for it
    void* full            # a gradient of the matrix (out, ld)
    void* work            # scratch of the products
    Py_ssize_t room       # elements of it a thread
    int threads
    la_runs runs          # of a tied layer
    int toeplitz          # bytes of the terms of a sum that repay each rank of stripes.pxd; 0 for layers not constant along diagonals
    # BASIS: (size, out * in), and the basis that the gradient is measured in
    void* basis
    void* dual
    # BLOCKS: n_in, n_out of each
    int blocks
    int* sides
    # SPARSE: by rows and by columns; index and sign of each nonzero, NULL where they are k and 1
    int nonzeros
    int* row_ptr
    int* row_col
    int* col_ptr
    int* col_row
    int* col_at
    int* index
    int* sign
    void* values          # of the nonzeros; the parameters themselves where index and sign are NULL
    la_conv conv

cdef struct Layer:
    int kind
    int n_in
    int n_out
    int ld                # of theta, velocity and gradient of a dense layer, and of the matrix of others
    void* theta           # the matrix
    void* velocity        # NULL without momentum
    void* gradient        # NULL unless gradients are asked for
    double lr
    double decay
    void* coeff           # the parameters of a layer that is not dense
    Structure* more
