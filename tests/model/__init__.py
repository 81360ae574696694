"""A model checker: the real coroutines of stored sessions, in every order, with faults, against an oracle."""
