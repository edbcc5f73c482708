# Types that the kernels share. Header only: no .pyx of this name (style.md, the cimport trap).

ctypedef fused real:
    float
    double

cdef enum Kind:
    DENSE = 0

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

cdef struct Layer:
    int kind
    int n_in
    int n_out
    int ld            # of theta, velocity and gradient, in elements
    void* theta
    void* velocity    # NULL without momentum
    void* gradient    # NULL unless gradients are asked for
    double lr
    double decay
