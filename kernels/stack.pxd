# Products of a stack of weights on rows that somebody else holds, and back: A_i = A_{i-1} W_i^T, or through the product of the weights
# where that is less work (docs/theory, section 10, with a gradient that comes from outside).

from libc.string cimport memcpy, memset
from types cimport real
from memory cimport Arena, padding, take
from products cimport Machine, product

cdef enum:
    ROWS = -1               # the pivot of a stack that takes its rows from layer to layer

cdef struct Matrix:
    void* at
    void* own               # room with padded rows, NULL where those of the caller serve
    Py_ssize_t offset       # of what lies on the tape: where, in elements
    int rows
    int columns
    int ld

cdef struct Stack:
    Machine machine
    int itemsize
    int depth
    int pivot
    int* widths             # depth + 1
    Matrix* W               # of layer i + 1
    Matrix X, D             # what goes in at either end
    Matrix F, dX            # what comes out there
    Matrix* dW
    void** theirs           # where the caller wants dW
    # the tape, which backward takes over from forward
    Matrix* A               # rows on their way, depth + 1; A[0] is X, A[depth] is F
    Matrix* U               # W_i ... W_{p+1} (k_i, k_p), of depth + 1; U[p + 1] is W_{p+1}
    Matrix* Z               # W_p ... W_{i+1} (k_p, k_i), of depth + 1; Z[p - 1] is W_p
    Matrix H                # X N^T (n, k_p); X itself at p = 0, F at p = depth
    Matrix ping, pong       # gradients on their way


cdef inline Matrix matrix(Stack* s, int rows, int columns) noexcept:
    """A matrix with rows as the tile wants them, nowhere yet."""
    cdef Matrix found
    memset(&found, 0, sizeof(Matrix))
    found.rows, found.columns, found.ld = rows, columns, padding(columns, s.itemsize, s.machine.most)
    return found


cdef inline Matrix room_for(Stack* s, Arena* arena, int rows, int columns) except *:
    """A matrix of the caller's, with room of its own where its rows have to be padded."""
    cdef Matrix found = matrix(s, rows, columns)
    if found.ld != columns:
        found.own = take(arena, <size_t>rows * found.ld * s.itemsize)
    return found


cdef inline void give(Stack* s, Matrix* M, void* theirs) noexcept nogil:
    """Take over an array of the caller's: where it lies, or in padded rows."""
    cdef size_t row = <size_t>M.columns * s.itemsize, padded = <size_t>M.ld * s.itemsize
    cdef int r
    M.at = theirs
    if M.own == NULL:
        return
    # the padding is zero from the start, and nothing else is written there
    for r in range(M.rows):
        memcpy(<char*>M.own + r * padded, <char*>theirs + r * row, row)
    M.at = M.own


cdef inline void* written(Matrix* M, void* theirs) noexcept nogil:
    """Where a result is computed that goes to an array of the caller's; see `hand_back`."""
    return theirs if M.own == NULL else M.own


cdef inline void hand_back(Stack* s, Matrix* M, void* theirs) noexcept nogil:
    """Copy a result out of its padded rows."""
    cdef size_t row = <size_t>M.columns * s.itemsize, padded = <size_t>M.ld * s.itemsize
    cdef int r
    if M.own == NULL or theirs == NULL:
        return
    for r in range(M.rows):
        memcpy(<char*>theirs + r * row, <char*>M.own + r * padded, row)


cdef inline void multiply(real* precision, Stack* s, bint ta, Matrix* A, bint tb, Matrix* B, Matrix* C) noexcept nogil:
    """C = op(A) op(B)."""
    product(&s.machine, ta, tb, C.rows, C.columns, A.rows if ta else A.columns, 1.0, <real*>A.at, A.ld, <real*>B.at, B.ld, 0.0,
            <real*>C.at, C.ld)


cdef inline void shape(Matrix* M, int rows, int columns, int ld) noexcept nogil:
    M.rows, M.columns, M.ld = rows, columns, ld


cdef inline void forward(real* precision, Stack* s, bint output) noexcept nogil:
    """F from W and X, by way of the tape; the tape alone unless `output`."""
    cdef int i, p = s.pivot, d = s.depth
    if p == ROWS:
        for i in range(d if output else d - 1):
            multiply(precision, s, False, &s.A[i], True, &s.W[i], &s.A[i + 1])
        return
    for i in range(p + 1, d):
        multiply(precision, s, False, &s.W[i], False, &s.U[i], &s.U[i + 1])
    for i in range(p - 2, -1, -1):
        multiply(precision, s, False, &s.Z[i + 1], False, &s.W[i], &s.Z[i])
    if p and (output or p < d):
        multiply(precision, s, False, &s.X, True, &s.Z[0], &s.H)
    if output and p < d:
        multiply(precision, s, False, &s.H, True, &s.U[d], &s.F)


cdef inline void backward(real* precision, Stack* s) noexcept nogil:
    """dW, and dX unless it is nowhere, from W, X, D and the tape; a gradient that is nowhere is left out."""
    if s.pivot == ROWS:
        backward_rows(precision, s)
    else:
        backward_product(precision, s)


cdef inline void backward_rows(real* precision, Stack* s) noexcept nogil:
    cdef int i
    cdef Matrix D = s.D
    cdef Matrix* to
    for i in range(s.depth - 1, -1, -1):
        if s.dW[i].at != NULL:
            multiply(precision, s, True, &D, False, &s.A[i], &s.dW[i])
        if i:
            to = &s.ping if D.at != s.ping.at else &s.pong
            shape(to, s.A[i].rows, s.A[i].columns, s.A[i].ld)
            multiply(precision, s, False, &D, False, &s.W[i], to)
            D = to[0]
        elif s.dX.at != NULL:
            multiply(precision, s, False, &D, False, &s.W[0], &s.dX)


cdef inline void backward_product(real* precision, Stack* s) noexcept nogil:
    cdef int i, p = s.pivot, d = s.depth
    cdef Matrix dH = s.D
    cdef Matrix T = s.D
    cdef Matrix* to
    if p and p < d:
        # in the room of the gradients of the upper part, which begin after it
        shape(&s.ping, s.H.rows, s.H.columns, s.H.ld)
        multiply(precision, s, False, &s.D, False, &s.U[d], &s.ping)
        dH = s.ping
    if s.dX.at != NULL:
        multiply(precision, s, False, &dH, False, &s.Z[0] if p else &s.U[d], &s.dX)
    if p:
        to = &s.pong
        for i in range(p):
            if i == 0:
                if p == 1:
                    to = &s.dW[0]
                if to.at == NULL:
                    break
                if p > 1:
                    shape(to, s.Z[0].rows, s.Z[0].columns, s.Z[0].ld)
                multiply(precision, s, True, &dH, False, &s.X, to)
                T = to[0]
            else:
                if i < p - 1:
                    to = &s.ping if T.at != s.ping.at else &s.pong
                    shape(to, s.Z[i].rows, s.Z[i].columns, s.Z[i].ld)
                else:
                    to = &s.dW[i]
                if to.at == NULL:
                    break
                multiply(precision, s, False, &T, True, &s.W[i - 1], to)
                T = to[0]
            if i < p - 1 and s.dW[i].at != NULL:
                multiply(precision, s, True, &s.Z[i + 1], False, &T, &s.dW[i])
    for i in range(d - 1, p - 1, -1):
        if i == p:
            to = &s.dW[p]
        else:
            to = &s.ping if i == d - 1 or T.at != s.ping.at else &s.pong
            shape(to, s.U[i + 1].rows, s.U[i + 1].columns, s.U[i + 1].ld)
        if to.at == NULL:
            break
        if i == d - 1:
            multiply(precision, s, True, &s.D, False, &s.H, to)
        else:
            multiply(precision, s, True, &s.W[i + 1], False, &T, to)
        T = to[0]
        if i > p and s.dW[i].at != NULL:
            multiply(precision, s, False, &T, True, &s.U[i], &s.dW[i])
