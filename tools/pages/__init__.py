"""HTML pages that need nothing else: style and script are in the file, and no other server is asked.

``base.html`` has what they share: colours for light and dark, tables that sort by a click on a column's head
and are filtered by words, charts that scroll on a phone. A page's template extends it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2

HERE = Path(__file__).parent


def page(template: Path, filters: Mapping[str, Callable[..., Any]] | None = None, **values: Any) -> str:
    """The page that ``template`` makes of ``values``; they are escaped, and none may be missing."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader([template.parent, HERE]), autoescape=True,
                                     undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(filters or {})
    return environment.get_template(template.name).render(**values)
