cimport cython

from gaesess.active cimport ActiveSession


@cython.final
cdef class Placement:
    cdef object _records, _now
    cdef Py_ssize_t _cookie_bytes

    cpdef save(self, ActiveSession active, bint persist=*)
    cdef _save(self, ActiveSession active, bytes payload, bint persist)
    cdef _place(self, ActiveSession active, bytes payload, bint persist)
    cdef bint _save_quick(self, ActiveSession active, bytes payload) except -1
