cimport cython

from gaesess.contents cimport Contents


@cython.final
@cython.freelist(8)
cdef class ActiveSession:
    cdef public object token, home, version, cookie
    cdef public Contents contents
    cdef public tuple writes
    cdef public list replaced
    cdef public bint unsaved

    cpdef as_cookie(self)
