"""Lists the packages by itself, so that a new folder needs no registration (see pyproject.toml)."""

from setuptools import find_namespace_packages, setup

TOP = ("sparse_dialect", "pipelines", "frontends", "runtime", "tools")
FOUND = find_namespace_packages(".", include=[name for top in TOP for name in (top, f"{top}.*")])

setup(packages=["espalier", *(f"espalier.{name}" for name in FOUND)])
