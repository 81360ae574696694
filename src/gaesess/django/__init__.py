"""Sessions for Django: its `request.session`, from a middleware of our own or from Django's."""

from gaesess.django.middleware import DjangoSessionMiddleware
from gaesess.django.session import DjangoSession
from gaesess.django.store import SessionStore

__all__ = ["DjangoSession", "DjangoSessionMiddleware", "SessionStore"]
