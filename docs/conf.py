"""Sphinx configuration: `sphinx-build -W -b html docs build/docs`."""

from importlib.metadata import version as version_of

project = "Fivefold"
author = "The Fivefold authors"
copyright = "The Fivefold authors"
release = version_of("fivefold")
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
nitpicky = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"Fivefold {release}"
html_show_sphinx = False
