"""How Sphinx makes the documentation: `make docs`."""

from importlib.metadata import version as version_of

project = "gaesess"
author = "the gaesess authors"
release = version_of("gaesess")
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

myst_heading_anchors = 3  # as GitHub makes them, so that links work there and here
myst_enable_extensions = ["colon_fence"]

default_role = "py:obj"  # links names in docstrings
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_mock_imports = ["google.appengine"]  # App Engine's own services: a large SDK, for two classes
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

html_theme = "furo"
html_title = f"gaesess {release}"
html_show_copyright = False
