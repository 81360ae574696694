cimport cython


@cython.final
cdef class Timeouts:
    cdef readonly bint with_browser
    cdef readonly int lifetime_seconds
    cdef readonly tuple passive_paths
    cdef object _idle_seconds

    cpdef bint is_idle(self, token, now) except -1
    cpdef bint wants_refresh(self, token, now) except -1
