cimport cython

from gaesess.lazy cimport LazySession


cdef class SessionMiddleware:
    cdef public object app, manager

    cpdef _respond(self, dict environ, start_response)


@cython.final
@cython.freelist(8)
cdef class _Response:
    cdef LazySession _session
    cdef object _server_start, _server_write, _status, _body, _iterator
    cdef list _headers
    cdef bint _to_head, _sent, _refused

    cpdef deliver(self, body, dict environ)
    cpdef _send_headers(self)
