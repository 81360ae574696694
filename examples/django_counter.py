"""A counter in Django: `python examples/django_counter.py runserver`, then open http://localhost:8000/"""

import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.urls import path

from gaesess import generate_key
from gaesess.stores.sqlite import SQLiteStore

settings.configure(
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    INSTALLED_APPS=["gaesess.django"],  # the checks of what follows
    SESSION_COOKIE_NAME="__Host-gaesess",  # what error reports are to hide
    MIDDLEWARE=["gaesess.django.DjangoSessionMiddleware"],
    # In earnest, make one key with `python -m gaesess genkey` and keep it: with a new key every session is gone.
    GAESESS={"cookie_key": generate_key(), "store": SQLiteStore("sessions.sqlite3")},
    ROOT_URLCONF=__name__,
)


def visit(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(f"Visit number {request.session['visits']}\n", content_type="text/plain")


urlpatterns = [path("", visit)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
