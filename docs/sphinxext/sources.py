"""Pages that show the source files to which the documentation links, so that it is whole where there is no network."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound

from .markdown import ROOT

# what Pygments does not know by its name
LIKE = {".pxd": "cython", ".h": "c", ".pyi": "python", "run": "bash"}


def language(path: Path) -> str:
    """The name of the lexer that reads the file."""
    try:
        return LIKE.get(path.suffix or path.name) or str(get_lexer_for_filename(path.name).aliases[0])
    except ClassNotFound:
        return "text"


def pages(app: Any) -> Iterator[tuple[str, dict[str, Any], str]]:
    """One page a file that some page links to."""
    shown = {name for about in app.env.metadata.values() for name in about.get("shown", ())}
    for name in sorted(shown):
        path = Path(name)
        text = path.read_text(encoding="utf-8")
        title = path.relative_to(ROOT).as_posix()
        body = app.builder.highlighter.highlight_block(text, language(path), linenos="inline", location=None)
        yield f"source/{title}", {"title": title, "body": f"<h1>{html.escape(title)}</h1>{body}"}, "page.html"


def setup(app: Any) -> dict[str, Any]:
    app.connect("html-collect-pages", pages)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
