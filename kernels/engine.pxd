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
        void** G
        void (*use)(void*, long) noexcept nogil
        void* owner
        long begin
    ctypedef long (*la_train)(const la_chain*, long, double*, double, double) noexcept nogil
    la_train la_chain_train(int level, int single) noexcept nogil

cdef extern from "la_row.h":
    ctypedef struct la_row_layer:
        int diagonal, n_in, n_out, ld
        void* theta
    ctypedef struct la_row:
        int depth
        la_row_layer* layers
        void** A
        void* D[2]
        void* X
        void* Y
        Py_ssize_t ldx, ldy
        const Py_ssize_t* rows
        const double* rates
        double* lr
        double* decay
        double factor
    ctypedef long (*la_row_train)(const la_row*, long, double*, double, double) noexcept nogil
    la_row_train la_row_train_of(int level, int single) noexcept nogil

cdef extern from "la_rules.h":
    ctypedef struct la_rules_float:
        void (*sgd)(Py_ssize_t, float*, const float*, float*, const double*) noexcept nogil
        void (*adam)(Py_ssize_t, float*, const float*, float*, float*, const double*) noexcept nogil
        void (*rmsprop)(Py_ssize_t, float*, const float*, float*, float*, float*, const double*) noexcept nogil
        void (*adagrad)(Py_ssize_t, float*, const float*, float*, const double*) noexcept nogil
        void (*sign)(Py_ssize_t, float*, const float*, float*, const double*) noexcept nogil
        void (*along)(Py_ssize_t, float*, const float*, float, float) noexcept nogil
        void (*mean)(Py_ssize_t, float*, const float*, float, float) noexcept nogil
        double (*squares)(Py_ssize_t, const float*, const double*) noexcept nogil
    ctypedef struct la_rules_double:
        void (*sgd)(Py_ssize_t, double*, const double*, double*, const double*) noexcept nogil
        void (*adam)(Py_ssize_t, double*, const double*, double*, double*, const double*) noexcept nogil
        void (*rmsprop)(Py_ssize_t, double*, const double*, double*, double*, double*, const double*) noexcept nogil
        void (*adagrad)(Py_ssize_t, double*, const double*, double*, const double*) noexcept nogil
        void (*sign)(Py_ssize_t, double*, const double*, double*, const double*) noexcept nogil
        void (*along)(Py_ssize_t, double*, const double*, double, double) noexcept nogil
        void (*mean)(Py_ssize_t, double*, const double*, double, double) noexcept nogil
        double (*squares)(Py_ssize_t, const double*, const double*) noexcept nogil
    ctypedef struct la_rules:
        la_rules_float f
        la_rules_double d
    const la_rules* la_rules_of(int level) noexcept nogil

cdef struct Optimiser:
    const la_rules* functions
    int kind
    int slots               # of each layer, without the mean of the weights
    double numbers[8]
    double* memory          # numbers of the whole network
    double* scales          # a layer, of NEWTON_SCHULZ
    long step               # which step is next; the first is 1
    bint matrix_metric
    bint norms              # whether the rule, or what is around it, asks for the norm of the gradients
    double clip             # the most that the norm of all gradients may be; 0 for no such bound
    double rho              # how far uphill the gradient is taken; 0 for here
    double powers[2]        # beta^step of Adam's means, after step `known`
    long known
    double first            # 1 less each of them
    double second
    double average          # what the mean of the weights keeps of itself; -1 for no mean
    # of NEWTON_SCHULZ: room for a matrix, its transpose and their Gram matrices
    void* turned
    void* wide
    void* wide_too
    void* gram
    void* gram_too

cdef struct Batch:
    # all the data; X is NULL where every step sees all rows, and its targets alone change
    void* X                 # (n, k_0)
    int ldx
    void* T                 # (n, k_d)
    int ldt
    double* factors         # of the loss of so many rows
    # the rows of each step
    int most
    const Py_ssize_t* rows
    const Py_ssize_t* counts
    const double* noise     # (steps, most, k_d), added to the targets; or NULL

cdef struct Blocks:
    # long data, of which the chain meets a few rows at a time: they pass the cache once a step
    const char* X           # (rows, k_0)
    const char* T           # (rows, k_d)
    Py_ssize_t rows
    int most                # rows of a block; the last one may have fewer
    void* room              # for a block of X in padded rows; NULL where it is read where it lies
    void* below             # Q X (s, k_0), from a pivot

cdef struct Tiles:
    # a chain of convolutions that is gone through some rows at a time (tiles.pxd)
    int rows                # of a tile
    int wide                # leading dimension of rows of what carries gradients
    Layer* layers           # (threads, depth), as the engine's, each with scratch memory and coordinates of its own
    void** sums             # a layer: coordinates of the gradient (threads, size)
    double* values          # of each thread, a line of the cache apart

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
    Optimiser* optimiser    # NULL for descent with momentum, which the products of the gradients do by themselves
    const double* rates     # (steps, depth) of the steps to come; NULL if they stay
    # the data
    void* X                 # (n, k_0), NULL for the identity
    int ldx
    Batch* batch            # NULL where every step sees all rows
    Blocks* blocks          # NULL where all rows are met at once; else X, targets, H, O and Q are those of a block
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
    Tiles* tiles            # NULL where a step goes from layer to layer
    # a chain that fits in registers (registers.pxd)
    la_train train          # NULL if it does not
    la_chain registers
    # steps of one row each (one_row.pxd)
    la_row_train train_row
    la_row* one_row         # NULL where there is no such loop
