# A layer as the kernels see it: its parameters, its matrix, and what else a constrained one has.

from libc.stddef cimport ptrdiff_t
from types cimport FIXED

cdef extern from "la_structured.h":
    ctypedef struct la_conv:
        int c_in, h_in, w_in, c_out, h_out, w_out, kh, kw, sh, sw, top, left, circular
    ptrdiff_t la_conv_layout(la_conv*, int line) noexcept nogil
    ctypedef struct la_runs:
        int count
        const int* row
        const int* column
        const int* length
        const int* parameter
        const int* step
        const int* sign
    ctypedef struct la_structured_float:
        void (*sparse_product)(int, int, const int*, const int*, const int*, const float*, int, const float*, ptrdiff_t,
                               float*, ptrdiff_t, float*) noexcept nogil
        void (*sparse_grad)(int, int, const int*, const int*, int, const float*, ptrdiff_t, const float*, ptrdiff_t,
                            float*, float*) noexcept nogil
        void (*tied_gather)(const la_runs*, const float*, ptrdiff_t, float*, ptrdiff_t) noexcept nogil
        void (*tied_spread)(const la_runs*, int, int, const float*, float*, ptrdiff_t) noexcept nogil
    ctypedef struct la_structured_double:
        void (*sparse_product)(int, int, const int*, const int*, const int*, const double*, int, const double*, ptrdiff_t,
                               double*, ptrdiff_t, double*) noexcept nogil
        void (*sparse_grad)(int, int, const int*, const int*, int, const double*, ptrdiff_t, const double*, ptrdiff_t,
                            double*, double*) noexcept nogil
        void (*tied_gather)(const la_runs*, const double*, ptrdiff_t, double*, ptrdiff_t) noexcept nogil
        void (*tied_spread)(const la_runs*, int, int, const double*, double*, ptrdiff_t) noexcept nogil
    ctypedef struct la_structured:
        la_structured_float f
        la_structured_double d
    const la_structured* la_structured_of(int level) noexcept nogil

cdef struct Border:
    # what stands beside a layer with products of its own (border.pxd); all zero where nothing does
    int skip                # 1: its inputs are added to its outputs
    int column              # 1: the last input is the constant coordinate
    int carried             # 1: and so is the last output
    int biases              # how many; they are the last parameters
    int places              # outputs that share one

cdef struct Structure:
    # what a constrained layer has besides its parameters; unused pointers are NULL
    const la_structured* functions  # of the instruction set
    Py_ssize_t size         # parameters
    void* coordinates       # <A_k, G>, one set for each thread of a convolution
    double* inverse_gram    # <A_k, A_k>^-1 where the Gram matrix is diagonal and the metric asks for it
    void* entry_gradient    # G (out, ld) of a layer with a matrix; of each nonzero, a thread, where nonzeros share parameters
    void* work              # scratch of the products
    Py_ssize_t room         # elements of it a thread
    int threads
    # TIED
    la_runs runs
    int toeplitz            # bytes of the terms of a sum that repay each rank of stripes.pxd; 0 if not constant along diagonals
    # BASIS: (size, out * in), and the basis that the gradient is measured in
    void* basis
    void* dual
    # TIED, BASIS: what is added to the matrix (n_out, n_in), without padding; NULL for nothing
    void* offset
    # BLOCKS: n_in, n_out of each
    int blocks
    const int* sides
    # SPARSE: by rows and by columns; parameter and sign of each nonzero, NULL where they are k and 1
    int nonzeros
    const int* row_ptr
    const int* row_col
    const int* col_ptr
    const int* col_row
    const int* col_at
    const int* parameter
    const int* sign
    void* values            # of the nonzeros; the parameters themselves where those are NULL
    la_conv conv
    # DIAGONAL, BLOCKS, SPARSE, CONV
    Border border

cdef struct Layer:
    int kind
    int n_in
    int n_out
    int ld                  # of the matrix, and of what is shaped like it
    void* matrix            # W (n_out, n_in); NULL where the layer has products of its own
    void* theta             # the parameters; of a dense layer they are the matrix
    void* velocity          # as theta; NULL without momentum
    void* gradient          # as theta; NULL unless gradients are asked for
    Py_ssize_t size         # of theta, its padding included
    void** slots            # what a rule of `optimiser.pxd` remembers, each as theta
    void* kept              # theta, while the gradient is taken elsewhere
    int ld_turned           # of the transposed matrix
    double lr
    double decay
    Structure* structure    # NULL for a dense layer


cdef inline bint has_matrix(Layer* L) noexcept nogil:
    """Whether the dense products serve the layer."""
    return L.kind <= FIXED
