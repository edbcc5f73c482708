# Workspace: where the rows in flight lie, and what else a loop works in, laid out once when a network is bound to its data.

from types cimport LINE, DENSE, CONV, END_TO_END, ENTRIES, SENSING, NEWTON_SCHULZ
from layer cimport Layer, Structure, has_matrix
from memory cimport Arena, padding, take
from stripes cimport Stripes, NONE, longer
from score cimport Scores, SIDE
from engine cimport Blocks, Engine, Tiles

cdef struct Memory:
    Arena kept          # pointers, and what never changes
    Arena room          # what the loop alone writes, and what it makes of the parameters: cleared when a run goes back


cdef inline void* array_of(Engine* e, Arena* arena, Py_ssize_t count) except NULL:
    """So many elements, all zero."""
    return take(arena, <size_t>count * e.itemsize)


cdef inline void* matrix_of(Engine* e, Arena* arena, Py_ssize_t rows, int columns) except NULL:
    """A matrix of padded rows, all zero."""
    return array_of(e, arena, rows * padding(columns, e.itemsize, e.machine.most))


cdef inline void* identity_of(Engine* e, Arena* arena, int size) except NULL:
    """The identity, of padded rows."""
    cdef void* found = matrix_of(e, arena, size, size)
    cdef Py_ssize_t i, step = padding(size, e.itemsize, e.machine.most) + 1
    for i in range(size):
        if e.itemsize == sizeof(float):
            (<float*>found)[i * step] = 1
        else:
            (<double*>found)[i * step] = 1
    return found


cdef inline int width(Engine* e, int i) noexcept nogil:
    """k_i."""
    return e.layers[i].n_in if i < e.depth else e.n_out


cdef inline int widest(Engine* e) noexcept nogil:
    """The largest k_i."""
    cdef int i, found = e.n_out
    for i in range(e.depth):
        found = max(found, e.layers[i].n_in)
    return found


cdef inline int carried(Engine* e) noexcept nogil:
    """The longest row of what carries gradients from layer to layer."""
    cdef int i, found = 1
    # the inputs are reached from a pivot alone; from the first vertex the gradient of a dense layer is a product with the data itself
    cdef bint inputs = e.pivot > 1 or e.pivot == 1 and (e.diagonal or e.layers[0].kind != DENSE or e.rows == 1)
    # from the outputs on where they are not the rows in flight themselves
    for i in range(0 if inputs else 1, e.depth + (0 < e.pivot < e.depth or e.data_last)):
        found = max(found, width(e, i))
    return found


cdef inline int last_suffix(Engine* e) noexcept nogil:
    """The Z_i go up to here: from the pivot, or from the outputs for cyclic updates."""
    return e.depth if e.cyclic else e.pivot


cdef inline int suffix_rows(Engine* e) noexcept nogil:
    """How many rows they have."""
    return e.n_out if e.cyclic else e.rows


cdef inline int lay_out_blocks(Engine* e, Memory* memory, void* X, void* targets, int most) except -1:
    """All rows of X and of the targets, without padding, from now on in blocks of `most`."""
    b = e.blocks = <Blocks*>take(&memory.kept, sizeof(Blocks))
    b.X, b.T, b.rows, b.most = <const char*>X, <const char*>targets, e.samples, most
    e.samples = most
    if e.ldx != e.n_in:
        b.room = matrix_of(e, &memory.room, most, e.n_in)
    return 0


cdef inline int lay_out_rows(Engine* e, Memory* memory, void* outputs) except -1:
    """The chains, the outputs and what carries gradients; `outputs`: where those lie, NULL for a place of their own.

    A NULL stands for the identity, beside a layer that has a matrix.
    """
    cdef int i, d = e.depth, p = e.pivot, last = last_suffix(e)
    cdef Arena* room = &memory.room
    e.loss.by_output = p > 0
    e.ldo = padding(e.samples if p else e.n_out, e.itemsize, e.machine.most)
    e.O = outputs
    if e.O == NULL:
        e.O = matrix_of(e, room, e.n_out if p else e.samples, e.samples if p else e.n_out)
    for i in range(p + 1, d + 1):
        e.A[i] = matrix_of(e, room, e.rows, width(e, i)) if i < d or p or e.data_last else e.O
    if p == 0 and not e.data_last and e.X != NULL:
        e.A[0] = e.X
    elif p < d and not has_matrix(&e.layers[p]):
        e.A[p] = identity_of(e, &memory.kept, e.rows)
    if last:
        if has_matrix(&e.layers[last - 1]):
            # I W is W itself
            e.Z[last - 1] = e.layers[last - 1].matrix
        else:
            e.Z[last] = identity_of(e, &memory.kept, suffix_rows(e))
            e.Z[last - 1] = matrix_of(e, room, suffix_rows(e), width(e, last - 1))
        for i in range(last - 1):
            e.Z[i] = matrix_of(e, room, suffix_rows(e), width(e, i))
    if 0 < p < d:
        e.H = matrix_of(e, room, e.rows, e.samples)
        e.Q = matrix_of(e, room, e.rows, e.samples)
    e.ping = matrix_of(e, room, e.rows, carried(e))
    e.pong = matrix_of(e, room, e.rows, carried(e))
    if e.blocks != NULL:
        e.loss.targets = matrix_of(e, room, e.n_out if p else e.samples, e.samples if p else e.n_out)
        e.blocks.below = matrix_of(e, room, e.rows, e.n_in) if p else NULL
    return 0


cdef inline int lay_out_tiles(Engine* e, Memory* memory) except -1:
    """How a chain of convolutions that sees samples goes through them, unless all fit in the cache: by tiles that fill half of it."""
    cdef int i, p, d = e.depth, threads = 1 if e.layers[0].structure == NULL else e.layers[0].structure.threads
    cdef Py_ssize_t row = 0
    cdef Structure* S
    if e.pivot or e.cyclic or e.data_last or e.loss.targets == NULL or e.loss.kind in (END_TO_END, ENTRIES, SENSING):
        return 0
    for i in range(d):
        if e.layers[i].kind != CONV or e.layers[i].structure.threads != threads:
            return 0
        row += e.ld[i] * e.itemsize
    row += (2 * e.ldo + 2 * padding(carried(e), e.itemsize, e.machine.most)) * e.itemsize
    if e.rows * row <= e.machine.cache:
        return 0
    t = e.tiles = <Tiles*>take(&memory.kept, sizeof(Tiles))
    t.rows, t.wide = <int>max(1, e.machine.cache // (2 * row)), padding(carried(e), e.itemsize, e.machine.most)
    t.layers = <Layer*>take(&memory.kept, threads * d * sizeof(Layer))
    t.sums = <void**>take(&memory.kept, d * sizeof(void*))
    t.values = <double*>take(&memory.room, threads * LINE)
    S = <Structure*>take(&memory.kept, threads * d * sizeof(Structure))
    for i in range(d):
        t.sums[i] = array_of(e, &memory.room, threads * e.layers[i].structure.size)
        for p in range(threads):
            S[p * d + i] = e.layers[i].structure[0]
            S[p * d + i].threads = 1
            S[p * d + i].work = <char*>S[p * d + i].work + p * S[p * d + i].room * e.itemsize
            S[p * d + i].coordinates = <char*>S[p * d + i].coordinates + p * S[p * d + i].size * e.itemsize
            t.layers[p * d + i] = e.layers[i]
            t.layers[p * d + i].structure = &S[p * d + i]
    return 0


cdef inline int lay_out_product(Engine* e, Arena* room, Stripes* s, int rank, int m, int n, int k, int worth) except -1:
    """The stripes of a product (m, n) with sums of k terms, if `worth` bytes of them a rank are there to repay them."""
    if rank * worth > k * e.itemsize:
        return 0
    s.rank = rank
    if rank > 0:
        s.ldg, s.ldh = padding(m, e.itemsize, m), padding(n, e.itemsize, n)
        s.G, s.H = array_of(e, room, rank * s.ldg), array_of(e, room, rank * s.ldh)
    return 0


cdef inline int toeplitz(Layer* L) noexcept nogil:
    """What repays a rank of the stripes of a product by the layer, in bytes; 0 if there are none."""
    return 0 if L.structure == NULL else L.structure.toeplitz


cdef inline int lay_out_stripes(Engine* e, Memory* memory) except -1:
    """Which chains are products of Toeplitz matrices alone, and their stripes."""
    cdef int i, rank, d = e.depth, last = last_suffix(e), any_toeplitz = 0
    cdef Arena* room = &memory.room
    cdef Layer* L
    e.stripes_A = <Stripes*>take(&memory.kept, (d + 1) * sizeof(Stripes))
    e.stripes_Z = <Stripes*>take(&memory.kept, (d + 1) * sizeof(Stripes))
    e.stripes_O = <Stripes*>take(&memory.kept, (d + 1) * sizeof(Stripes))
    e.toeplitz = <Stripes*>take(&memory.kept, sizeof(Stripes))
    for i in range(d + 1):
        e.stripes_A[i].rank = e.stripes_Z[i].rank = e.stripes_O[i].rank = NONE
    for i in range(d):
        any_toeplitz += toeplitz(&e.layers[i])
    if not e.machine.level or not any_toeplitz:
        return 0
    e.stripes_work = array_of(e, room, 2 * max(widest(e), e.rows, suffix_rows(e)))
    # the identity beside a layer that has a matrix is not multiplied by
    for i in range(e.pivot, d):
        L = &e.layers[i]
        if toeplitz(L):
            rank = 0 if e.A[i] == NULL else longer(e.stripes_A[i].rank, 0)
            lay_out_product(e, room, &e.stripes_A[i + 1], rank, e.rows, L.n_out, L.n_in, toeplitz(L))
    for i in range(last - 1, -1, -1):
        L = &e.layers[i]
        if toeplitz(L):
            rank = 0 if e.Z[i + 1] == NULL else longer(e.stripes_Z[i + 1].rank, 0)
            lay_out_product(e, room, &e.stripes_Z[i], rank, suffix_rows(e), L.n_in, L.n_out, toeplitz(L))
    for i in range(1, d if e.cyclic else 0):
        L = &e.layers[i]
        rank = longer(e.stripes_A[i].rank, e.stripes_Z[i].rank)
        lay_out_product(e, room, &e.stripes_O[i], rank, e.rows, e.n_out, L.n_in, toeplitz(L))
    # what one thread reads first, by diagonals, is not filled by others
    for i in range(d):
        if e.stripes_A[i + 1].rank > 0 or e.stripes_Z[i].rank > 0:
            e.layers[i].structure.threads = 1
    return 0


cdef inline int lay_out_scores(Engine* e, Memory* memory, Scores* s) except -1:
    """What the scores of alignment are computed in."""
    cdef size_t size = (2 * SIDE) * (2 * SIDE) * sizeof(double)
    cdef Arena* room = &memory.room
    s.W, s.V, s.Z = <double*>take(room, size), <double*>take(room, size), <double*>take(room, size)
    s.T, s.K = <double*>take(room, size), <double*>take(room, size)
    s.machine = e.machine
    s.machine.threads = 1
    s.machine.scratch = take(room, size)
    return 0


cdef inline int lay_out_rule(Engine* e, Memory* memory, int slots) except -1:
    """Where a rule of optimiser.pxd finds its `slots`, which are not made here, and what it works in."""
    cdef int i, most = widest(e)
    cdef Arena* room = &memory.room
    cdef Layer* L
    o = e.optimiser
    for i in range(e.depth):
        L = &e.layers[i]
        L.size = <Py_ssize_t>L.n_out * L.ld if L.structure == NULL else L.structure.size
        L.ld_turned = padding(L.n_out, e.itemsize, e.machine.most)
        L.slots = <void**>take(&memory.kept, (slots + 1) * sizeof(void*))
        if o.rho > 0:
            L.kept = array_of(e, room, L.size)
    if o.kind == NEWTON_SCHULZ:
        o.turned, o.wide, o.wide_too = matrix_of(e, room, most, most), matrix_of(e, room, most, most), matrix_of(e, room, most, most)
        o.gram, o.gram_too = matrix_of(e, room, most, most), matrix_of(e, room, most, most)
    return 0
