# The element types and the numbers that the kernels share. Header only: no .pyx of this name.

# The two element types. Cython picks one by the arguments of a call; a function that has no array among its own, as those that take
# everything from an engine, has a `real* precision` for that alone: always NULL, never read.
ctypedef fused real:
    float
    double

# The numbers below are known to Python by `_machine.KINDS`, `LOSSES`, `STATUSES`, `RULES` and `LEVELS`, and written nowhere else.

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
    HUBER = 7
    HINGE = 8
    SQUARED_HINGE = 9

cdef enum Status:
    RUNNING = 0
    CONVERGED = 1
    DIVERGED = 2
    CALLBACK_FAILED = 3

# The rules of optimiser.pxd, and what each finds in `Optimiser.numbers`, in order.
cdef enum RuleKind:
    SGD = 0                 # momentum, whether Nesterov's, dampening
    ADAM = 1                # beta_1, beta_2, eps, whether decay passes through the gradient
    RMSPROP = 2             # alpha, eps, momentum, whether centred
    ADAGRAD = 3             # lr_decay, eps
    SIGN = 4                # momentum
    NORMALISED = 5
    GROUP_RMSPROP = 6       # alpha, eps
    NEWTON_SCHULZ = 7       # momentum, whether Nesterov's, steps, the three coefficients, eps

cdef extern from "la_targets.h":
    const bint ARM "LA_ARM"             # whether this is arm64, with NEON beside the baseline
    const int BASE "LA_BASE"
    const int NEON "LA_NEON"
    const int AVX2 "LA_AVX2"
    const int AVX512 "LA_AVX512"
    const int LINE "LA_LINE"            # bytes of a cache line and of the longest vector
    int la_detect() noexcept nogil
