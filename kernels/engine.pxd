# Engine: all that a run works on, as the kernels see it: the layers, the data, the rows in flight, the outputs. Bound by _chain.pyx.
#
# One step (docs/theory, section 10). From the pivot p, with s = k_p rows in flight,
#
#     upper  A_p = I,  A_i = A_{i-1} W_i^T         lower  Z_p = I,  Z_{i-1} = Z_i W_i
#     meet   O = outputs, E = dL/dO, the only place that sees the data and the loss
#     upper  D_d, D_{i-1} = D_i W_i                lower  R_0, R_i = R_{i-1} W_i^T
#     grad_i = D_i^T A_{i-1}  (i > p)              grad_i = Z_i^T R_{i-1}  (i <= p)
#
# At p = 0 there is no lower part and A_0 is the data, or I if the samples are many (samples.pxd). At p >= 1 the outputs are kept
# transposed, (k_d, n), so that no product needs a transposed copy (pivot.pxd). The identities are never multiplied by.
# A layer is updated in the product that computes its gradient, after its old value has been used (descend.pxd).

from layer cimport Layer
from products cimport Machine
from loss cimport Objective
from stripes cimport Stripes
from score cimport Scores

cdef extern from "la_chain.h":
    ctypedef struct la_chain:
        int depth, rows, diagonal, turned
        const int* widths
        void** W
        void** R
        void** A
        void* D[2]
        void* X
        void* Y
        void* scale
        const double* lr
        const double* decay
        double factor
    ctypedef long (*la_train)(const la_chain*, long, double*, double, double) noexcept nogil
    la_train la_chain_train(int level, int single) noexcept nogil

cdef struct Engine:
    Machine machine
    Layer* layers
    int itemsize
    int depth               # d
    int pivot               # p
    int rows                # s, rows in flight
    int samples             # n, columns (p >= 1) or rows (p = 0) of the outputs
    int n_in                # k_0
    int n_out               # k_d
    bint cyclic
    bint gradients_only     # write gradients, update nothing
    double momentum
    # the data
    void* X                 # (n, k_0), NULL for the identity
    int ldx
    bint data_last          # p = 0 with A_0 = I: the outputs are X A_d
    bint diagonal           # X is diag(X[0, :]), p >= 1
    # the rows in flight
    void** A                # A_i (s, k_i), i = p..d; NULL for the identity, beside a layer that has a matrix
    void** Z                # Z_i (s, k_i), i = 0..p; the same
    int* ld                 # leading dimension of rows of k_i
    void* ping              # D_i and R_i, in turns
    void* pong
    # where products of Toeplitz matrices go by their diagonals
    Stripes* stripes_A      # of each A_i and Z_i, and of the outputs of a sweep; rank NONE where the products before are not all Toeplitz
    Stripes* stripes_Z
    Stripes* stripes_O
    Stripes* toeplitz       # of a Toeplitz matrix
    void* stripes_work
    # where the chains meet
    Objective loss
    void* H                 # N X^T (s, n)
    void* O                 # the outputs, then their gradient
    void* Q                 # A_d E (s, n)
    int ldo                 # of rows of n (p >= 1) or of k_d (p = 0)
    int (*ask)(void* owner, double* value) noexcept with gil    # a loss in Python, of the outputs
    void* owner             # the Chain
    Scores* scores          # what to record on the way; NULL for nothing
    # a chain that fits in registers (registers.pxd)
    la_train train          # NULL if it does not
    la_chain registers
