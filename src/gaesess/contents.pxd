cimport cython


@cython.final
@cython.freelist(8)
cdef class Contents:
    cdef public dict data
    cdef public bytes payload
    cdef dict _written, _attempts
    cdef bint _cleared, _exposed

    cpdef read(self, key)
    cpdef write(self, key, value, bint quick=*)
    cpdef bytes changed_payload(self)
    cpdef bytes encode(self)
    cpdef saved(self, bytes payload)
