"""MkDocs loads its hooks by path, outside of any package: this file only leads to ours."""

from espalier.tools.docs.site import on_files, on_page_markdown

__all__ = ["on_files", "on_page_markdown"]
