"""Sign in with Google on App Engine: see README.md for how to run it under dev_appserver and how to deploy it."""

import os

from appengine_users import AppEngineUsers
from flask import Flask
from google.appengine.api import wrap_wsgi_app
from pages import add_pages

from gaesess.flask import GaeSess

app = Flask(__name__)
app.config["GAESESS"] = {"cookie_key": os.environ.get("COOKIE_KEY")}  # from app.yaml: the same in every instance
GaeSess(app)
add_pages(app, AppEngineUsers())
app.wsgi_app = wrap_wsgi_app(app.wsgi_app)
