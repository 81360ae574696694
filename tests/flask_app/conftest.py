import pytest
from flask_app.flask_site import FlaskSite


@pytest.fixture
def site():
    return FlaskSite()
