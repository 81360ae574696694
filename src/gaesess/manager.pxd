from gaesess.active cimport ActiveSession
from gaesess.authenticator cimport Authenticator
from gaesess.cookies cimport CookiePolicy
from gaesess.placement cimport Placement
from gaesess.sealer cimport Sealer
from gaesess.timeouts cimport Timeouts


cdef class SessionManager:
    cdef public CookiePolicy cookie
    cdef public object legacy
    cdef object _clock, _label, _records, _revocation, _users
    cdef readonly Timeouts timeouts
    cdef readonly Authenticator authenticator
    cdef readonly object store_threads
    cdef Placement _placement
    cdef Sealer _sealer

    cpdef now(self)
    cpdef bint save_waits(self, ActiveSession active) except -1
    cpdef save(self, ActiveSession active, persist=*)
    cpdef set_cookies(self, ActiveSession active, taken)
