"""Limits: how many threads other libraries may use, while anyone asks for fewer.

Ctrl-C may interrupt Python at any line, and a fork may find every other thread at any line. Nothing here runs Python: a limit is
entered and left whole or not at all. The GIL is the only lock, so no child of a fork waits for one that nobody holds any more.
"""

cimport cython
from libc.stdint cimport uintptr_t

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident() noexcept nogil

# copies of libraries at most
cdef enum:
    MOST = 16

ctypedef long (*Getter)() noexcept nogil
ctypedef void (*Setter)(long) noexcept nogil

cdef struct Library:
    Getter get
    Setter set
    bint own  # every thread has a number of its own
    long before  # of a number that all threads share: what it was, and what it was last set to here
    long given

cdef struct Entry:
    Entry* last
    Entry* next
    long most
    unsigned long thread
    bint inside
    long before[MOST]  # of the thread's own numbers


cdef class Limits:
    """The limits in force on some libraries: each has the least that anyone inside asks for, and in the end what it had before.

    Of a library in which every thread has a number of its own, the least that this thread asks for. A number that somebody else
    has set in between is theirs, and stays when the last one leaves.
    """

    cdef Library libraries[MOST]
    cdef int count
    cdef Entry* first

    def __init__(self, libraries):
        """`libraries`: where to read and where to set the number of each, as addresses, and whether every thread has its own.

        Raises: ValueError beyond 16 libraries.
        """
        cdef uintptr_t get, put
        if self.first != NULL or len(libraries) > MOST:
            raise ValueError(f"there are {len(libraries)} libraries; at most {MOST} were wanted, before any limit is in force")
        self.count = 0
        for get, put, own in libraries:
            self.libraries[self.count].get = <Getter>get
            self.libraries[self.count].set = <Setter>put
            self.libraries[self.count].own = own
            self.count += 1

    def __call__(self, long most) -> Limit:
        """A limit to be entered: at most so many threads."""
        return Limit(self, most)

    def inside(self) -> int:
        """How many limits are in force."""
        cdef int found = 0
        cdef Entry* at = self.first
        while at != NULL:
            found += 1
            at = at.next
        return found

    def available(self) -> int:
        """The most threads of any library, without the limits in force; 0 if there is none that one can ask."""
        cdef long found = 0, here
        cdef int i
        for i in range(self.count):
            here = self.present(i)
            if self.libraries[i].own:
                at = self.peer(PyThread_get_thread_ident(), NULL)
                here = here if at == NULL else at.before[i]
            elif self.first != NULL and here == self.libraries[i].given:
                here = self.libraries[i].before
            found = max(found, here)
        return found

    def forget(self) -> None:
        """In the child of a fork: those who asked for less are not there any more, and the libraries have what they had before."""
        cdef Entry* at = self.first
        cdef Entry* next
        cdef Entry* own = self.peer(PyThread_get_thread_ident(), NULL)
        cdef int i
        for i in range(self.count):
            if self.libraries[i].own:
                if own != NULL:
                    self.set(i, own.before[i])
            elif at != NULL and self.present(i) == self.libraries[i].given:
                self.set(i, self.libraries[i].before)
        while at != NULL:
            next = at.next
            at.inside = False
            at.last = at.next = NULL
            at = next
        self.first = NULL

    cdef long present(self, int i) noexcept:
        # most of them return an int, which leaves the upper half of a long as it was
        return <int>self.libraries[i].get()

    cdef void set(self, int i, long number) noexcept:
        if self.present(i) != number:
            self.libraries[i].set(number)

    cdef Entry* peer(self, unsigned long thread, Entry* but) noexcept:
        """Another entry of the thread."""
        cdef Entry* at = self.first
        while at != NULL and (at == but or at.thread != thread):
            at = at.next
        return at

    cdef long least(self, unsigned long thread, bint own) noexcept:
        """What those inside ask for, or those of the thread; 0 if there are none."""
        cdef long found = 0
        cdef Entry* at = self.first
        while at != NULL:
            if (not own or at.thread == thread) and (found == 0 or at.most < found):
                found = at.most
            at = at.next
        return found

    cdef void enter(self, Entry* entry) noexcept:
        cdef Entry* peer
        cdef int i
        entry.thread = PyThread_get_thread_ident()
        peer = self.peer(entry.thread, NULL)
        for i in range(self.count):
            if self.libraries[i].own:
                entry.before[i] = self.present(i) if peer == NULL else peer.before[i]
            elif self.first == NULL:
                self.libraries[i].before = self.present(i)
        entry.last, entry.next = NULL, self.first
        if self.first != NULL:
            self.first.last = entry
        self.first = entry
        entry.inside = True
        for i in range(self.count):
            self.set(i, self.least(entry.thread, self.libraries[i].own))
            # a library may give fewer than it was asked for
            self.libraries[i].given = self.present(i)

    cdef void leave(self, Entry* entry) noexcept:
        cdef unsigned long here = PyThread_get_thread_ident()
        cdef long wanted
        cdef int i
        if entry.last != NULL:
            entry.last.next = entry.next
        else:
            self.first = entry.next
        if entry.next != NULL:
            entry.next.last = entry.last
        entry.inside = False
        entry.last = entry.next = NULL
        for i in range(self.count):
            wanted = self.least(entry.thread, self.libraries[i].own)
            if self.libraries[i].own:
                # the number of another thread is out of reach
                if entry.thread == here:
                    self.set(i, wanted if wanted else entry.before[i])
            elif self.present(i) == self.libraries[i].given:
                self.set(i, wanted if wanted else self.libraries[i].before)
                self.libraries[i].given = self.present(i)


@cython.no_gc  # it refers to nothing that could refer to it
cdef class Limit:
    """One limit, in force between enter and exit, in any thread and any order; and no longer than the object is there."""

    cdef Limits limits
    cdef Entry entry

    def __init__(self, Limits limits not None, long most):
        """Raises: ValueError if nothing would be left."""
        if most < 1:
            raise ValueError(f"most is {most}; a whole number of at least 1 was wanted")
        self.limits = limits
        self.entry.most = most

    def __enter__(self) -> None:
        """Raises: RuntimeError if it is in force."""
        if self.entry.inside:
            raise RuntimeError("this limit is in force already; make another one")
        self.limits.enter(&self.entry)

    def __exit__(self, kind, value, trace) -> None:
        if self.entry.inside:
            self.limits.leave(&self.entry)

    def __dealloc__(self):
        if self.entry.inside:
            self.limits.leave(&self.entry)
