# Arrays of Python's that an engine works on: copies as it lays them out, or those of the caller's where they lie so.

from memory cimport padding
from handover cimport address

from ._machine import buffer


cdef inline bint lies(source, dtype):
    """Whether the rows of an array follow each other in memory, as this dtype."""
    return source.dtype == dtype and source.flags.c_contiguous and source.flags.aligned


cdef inline void* as_matrix(list keeper, source, dtype, int most, bint lent) except NULL:
    """Rows of at most `most` columns padded: the array itself if it is `lent` and lies so, else a copy."""
    if lent and lies(source, dtype) and padding(source.shape[1], dtype.itemsize, most) == source.shape[1]:
        keeper.append(source)
        return <void*>address(source)
    array = buffer(source.shape[0], source.shape[1], dtype, most)
    array[...] = source
    keeper.append(array)
    return <void*>address(array)


cdef inline void* as_vector(list keeper, source, dtype, int most) except NULL:
    """A copy of an array of any shape, without padding."""
    array = buffer(1, source.size, dtype, most)
    array[0] = source.ravel()
    keeper.append(array.reshape(source.shape))
    return <void*>address(array)
