import pytest
from asgi.client import Site


@pytest.fixture
def site():
    return Site()
