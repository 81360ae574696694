cimport cython

from gaesess.active cimport ActiveSession
from gaesess.sealer cimport Sealer
from gaesess.timeouts cimport Timeouts


@cython.final
cdef class Authenticator:
    cdef str _cookie_name
    cdef Sealer _sealer
    cdef Timeouts _timeouts
    cdef object _records, _revocation, _now

    cpdef authenticate(self, cookie_header)
    cpdef ActiveSession activate(self, token, bint retired_key=*)
