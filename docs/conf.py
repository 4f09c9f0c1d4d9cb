"""Sphinx configuration; built with warnings as errors by `make docs`."""

from steersman.version import VERSION

project = "steersman"
author = "The steersman authors"
copyright = "The steersman authors, Apache-2.0"
release = VERSION
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "steersman"
exclude_patterns = ["_build"]
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
