cimport cython

from gaesess.lazy cimport LazySession


@cython.final
@cython.freelist(8)
cdef class _Response:
    cdef LazySession _session
    cdef object _scope, _server_send, _start, _saving
    cdef bint _has_store
    cdef public object failure
    cdef public bint sent
