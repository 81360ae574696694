cimport cython


@cython.final
cdef class Sealer:
    cdef object _seal, _unseal, _unseal_cookies, _retired
    cdef readonly object current
    cdef dict _currents
    cdef bint _compress

    cpdef shrink(self, token)
    cpdef bytes seal(self, token, int chunks=*)
    cpdef unseal_cookies(self, untrusted, name, now)
