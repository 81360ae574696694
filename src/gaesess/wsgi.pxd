cimport cython

from gaesess.lazy cimport LazySession


cdef class SessionMiddleware:
    cdef public object app, manager
    cdef bint _has_passive_paths


@cython.final
@cython.freelist(8)
cdef class _Response:
    cdef LazySession _session
    cdef object _server_start, _server_write, _status, _headers, _body, _iterator
    cdef bint _to_head, _sent, _refused

    cpdef deliver(self, body, environ)
    cpdef _send_headers(self)
