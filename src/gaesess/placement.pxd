cimport cython

from gaesess.active cimport ActiveSession


@cython.final
cdef class Placement:
    cdef object _records, _recorder, _now
    cdef Py_ssize_t _cookie_bytes

    cpdef bint save(self, ActiveSession active, bint persist=*) except -1
    cdef _save(self, ActiveSession active, bytes payload, bint persist)
    cdef _place(self, ActiveSession active, bytes payload, bint persist)
    cdef bint _save_quick(self, ActiveSession active, bytes payload) except -1
