"""Takes over the sessions of a running application: of gae-sessions 1.07, and of Flask's and Django's signed cookies.

Give what these functions return to SessionManager, or a middleware, as `legacy=`: one of them or a list. A session
that comes in an old cookie, in a request without one of ours, goes on as a new session of ours with the old data; the
old cookie is deleted with the response that brings the new one.
"""

from gaesess.legacy.django_cookie import django
from gaesess.legacy.flask_cookie import flask
from gaesess.legacy.gae_sessions import Source, accept
from gaesess.legacy.reader import Reader

__all__ = ["Reader", "Source", "accept", "django", "flask"]
