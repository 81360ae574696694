from gaesess.active cimport ActiveSession
from gaesess.manager cimport SessionManager


cdef class LazySession:
    cdef public SessionManager _manager
    cdef public object _cookie_header, _old, _outage
    cdef public int _cookies_taken
    cdef public object _token
    cdef public ActiveSession _active
    cdef public list _ended
    cdef public bint _passive, _retired_key, _unread, _signed_out, _accessed, _closed

    cpdef is_accessed(self)
    cpdef bint close(self) except -1
    cpdef commit(self)
    cpdef abandon(self)
    cpdef resume(self, ActiveSession active)
    cpdef ActiveSession _load(self)
    cpdef _read(self)
    cpdef _authenticate(self)
    cpdef _check_open(self)
    cpdef ActiveSession _writable(self)
