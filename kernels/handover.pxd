# Arrays from Python, as the pointers that the kernels keep. Whoever hands one over keeps it alive.

from cpython.buffer cimport PyObject_GetBuffer, PyBuffer_Release, PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_STRIDED_RO, PyBUF_WRITABLE


cdef inline size_t address(array) except? 0:
    """Where the array begins; `array.ctypes.data` takes ten times as long."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_STRIDED_RO)
    found = <size_t>view.buf
    PyBuffer_Release(&view)
    return found


cdef inline void* elements(array, char code) except? NULL:
    """Where a contiguous array of that type (the letter of `struct`) begins; NULL for None.

    Raises: TypeError for another type, ValueError if it is not contiguous.
    """
    cdef Py_buffer view
    if array is None:
        return NULL
    PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
    found, right = view.buf, view.format[0] == code
    PyBuffer_Release(&view)
    if not right:
        raise TypeError(f"an array is of type {array.dtype}; {chr(code)!r} was wanted")
    return found


cdef inline const int* whole(array) except? NULL:
    """Of whole numbers, as C has them."""
    return <const int*>elements(array, b"i")


cdef inline const Py_ssize_t* indices(array) except? NULL:
    """Of `np.intp`."""
    return <const Py_ssize_t*>elements(array, b"l" if sizeof(long) == sizeof(Py_ssize_t) else b"q")


cdef inline double* doubles(array) except? NULL:
    """Of float64."""
    return <double*>elements(array, b"d")


cdef inline void* exactly(array, char code, Py_ssize_t count, shape, bint writable) except? NULL:
    """Where a contiguous array of that type, so many elements and that shape (None: flat) begins.

    Raises: TypeError, ValueError, BufferError for another array; whoever calls has a better word for it.
    """
    cdef Py_buffer view
    cdef bint right
    cdef int i
    PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0))
    found = view.buf
    right = view.format[0] == code and view.len == count * view.itemsize
    if shape is None:
        right = right and view.ndim == 1
    else:
        right = right and view.ndim == len(shape)
        for i in range(view.ndim if right else 0):
            right = right and view.shape[i] == shape[i]
    PyBuffer_Release(&view)
    if not right:
        raise ValueError(f"an array has shape {np_shape(array)}; {shape or (count,)} was wanted, C-contiguous")
    return found


cdef inline object np_shape(array):
    return getattr(array, "shape", None)
