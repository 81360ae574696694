cimport cython


@cython.final
cdef class CookiePolicy:
    cdef readonly str name
    cdef readonly bint secure
    cdef readonly Py_ssize_t chunk_chars
    cdef str _place, _rules

    @cython.locals(text_chars=Py_ssize_t)
    cpdef Py_ssize_t chunks_for(self, Py_ssize_t payload_bytes)
    cpdef list write(self, str text, now, expires, bint secure, int taken)
    cpdef list delete(self, int first, int taken)
    cdef str _attributes(self, str age, bint secure)
