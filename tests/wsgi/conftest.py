import pytest
from wsgi.client import Site


@pytest.fixture
def site():
    return Site()
