cimport cython

from gaesess.active cimport ActiveSession
from gaesess.sealer cimport Sealer


@cython.final
cdef class Placement:
    cdef object _records, _recorder, _now, _revocation
    cdef Sealer _sealer
    cdef Py_ssize_t _cookie_bytes

    cpdef bint save(self, ActiveSession active, bint persist=*) except -1
    cdef _save(self, ActiveSession active, bytes payload, bint persist)
    cdef bint _reseal(self, ActiveSession active) except -1
    cdef bint _fits(self, bytes payload, ActiveSession active) except -1
    cdef bint _leaves_tombstone(self, token) except -1
    cdef _place(self, ActiveSession active, bytes payload, bint persist)
    cdef bint _save_quick(self, ActiveSession active, bytes payload) except -1
