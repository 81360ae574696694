cimport cython

from gaesess.contents cimport Contents


@cython.final
@cython.freelist(8)
cdef class ActiveSession:
    cdef public object token, home, version, history, cookie, binding
    cdef public Contents contents
    cdef public list replaced
    cdef public bint unsaved, retired_key, passive

    cpdef as_cookie(self)
