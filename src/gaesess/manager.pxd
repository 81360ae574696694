from gaesess.active cimport ActiveSession
from gaesess.cookies cimport CookiePolicy
from gaesess.placement cimport Placement


cdef class SessionManager:
    cdef public CookiePolicy cookie
    cdef object _clock, _lifetime, _idle_seconds, _keys, _label, _records
    cdef Placement _placement

    cpdef now(self)
    cpdef authenticate(self, cookie_header)
    cpdef ActiveSession activate(self, token)
    cpdef bint save_waits(self, ActiveSession active) except -1
    cpdef save(self, ActiveSession active, persist=*)
    cpdef set_cookies(self, ActiveSession active, taken)
