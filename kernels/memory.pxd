# Memory of a chain: zeroed pieces that start on cache lines, freed all at once; and the padding of rows.
# A small network asks for some thirty pieces, each a few rows; as NumPy arrays they took as long as hundreds of its steps.

from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset
from types cimport LINE

cdef extern from "la_pages.h":
    const size_t PAGE "LA_PAGE"     # bytes of the pages that large pieces are laid on
    size_t la_paged(size_t size) noexcept nogil
    void la_use_pages(void* at, size_t paged) noexcept nogil

cdef enum:
    # bytes of a block that small pieces share: the first, and at most; larger pieces have a block each
    BLOCK = 4096
    MOST = 16384

cdef struct Block:
    void* raw
    void* at                # where it begins, on a cache line or a page
    size_t size

cdef struct Arena:
    Block* blocks
    int count
    # of the block in use
    char* next
    size_t left

cdef inline void* _block(Arena* a, size_t size) noexcept:
    """A block from a cache line on, from a large page on if it is as large; NULL without memory."""
    cdef size_t paged = la_paged(size), step = PAGE if paged else LINE
    cdef Block* block
    cdef Block* more = <Block*>realloc(a.blocks, (a.count + 1) * sizeof(Block))
    if more == NULL:
        return NULL
    a.blocks = more
    cdef void* raw = malloc(max(size, paged) + step)
    if raw == NULL:
        return NULL
    block = &a.blocks[a.count]
    a.count += 1
    block.raw, block.at, block.size = raw, <void*>((<uintptr_t>raw + step - 1) // step * step), size
    la_use_pages(block.at, paged)
    # touched here, and not page by page in the first steps
    memset(block.at, 0, size)
    return block.at

cdef inline void* take(Arena* a, size_t size) except NULL:
    """`size` bytes, all zero."""
    cdef void* found
    cdef size_t whole
    size = (size + LINE - 1) // LINE * LINE
    if size > MOST // 4:
        found = _block(a, size)
    else:
        if a.next == NULL or size > a.left:
            whole = min(BLOCK << min(a.count, 2), MOST)
            a.next = <char*>_block(a, whole)
            a.left = whole if a.next != NULL else 0
        found = a.next
        if found != NULL:
            a.next += size
            a.left -= size
    if found == NULL:
        raise MemoryError(f"no memory for {size} bytes of workspace")
    return found

cdef inline void clear(Arena* a) noexcept:
    """Every piece as it was when it was taken: all zero."""
    cdef int i
    for i in range(a.count):
        memset(a.blocks[i].at, 0, a.blocks[i].size)

cdef inline void release(Arena* a) noexcept:
    """Free every piece."""
    cdef int i
    for i in range(a.count):
        free(a.blocks[i].raw)
    free(a.blocks)
    a.blocks, a.count, a.next, a.left = NULL, 0, NULL, 0


cdef inline int padded(int n, int lanes) noexcept nogil:
    """n in whole vectors."""
    return (n + lanes - 1) // lanes * lanes


cdef inline int padding(int columns, int itemsize, int most) noexcept nogil:
    """The leading dimension of rows of that many columns: those of at most `most` are padded to whole vectors for the tile."""
    return columns if columns > most else padded(columns, LINE // itemsize)
