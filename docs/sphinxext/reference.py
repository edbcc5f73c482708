"""The reference: a page for each public name, written before Sphinx reads, and tables of names where a page asks for them.

`<!-- names: Network Layer -->` becomes a table of these names with their first lines, and puts their pages below the page.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from .markdown import ROOT
from .names import NAMES, name_of, own, page_of, summary

ASKED = re.compile(r"^<!-- names:([^>]+) -->$", flags=re.M)


def write(app: Any) -> None:
    """Pages of all names; one that says the same as before is left as it is, so that it is not read again."""
    folder = Path(app.srcdir) / "api" / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {Path(app.srcdir) / f"{page_of(name)}.rst": text(name, value) for name, value in NAMES.items()}
    for path in folder.glob("*.rst"):
        if path not in wanted:
            path.unlink()
    for path, page in wanted.items():
        if not path.exists() or path.read_text(encoding="utf-8") != page:
            path.write_text(page, encoding="utf-8")


def text(name: str, value: Any) -> str:
    """One page, as reStructuredText."""
    title = name.removeprefix("linalign.")
    lines = [title, "=" * len(title), ""]
    if isinstance(value, ModuleType):
        lines += [f".. automodule:: {name}", "   :no-members:", ""]
        inner = [one for one in NAMES if one.startswith(f"{name}.")] + [f"{name}.{one}" for one in own(value)]
        known = sorted({one if one in NAMES else f"linalign.{one.rpartition('.')[2]}" for one in inner})
        if known:
            lines += [".. rubric:: Names", "", *(f"- :py:obj:`{one}`" for one in known), ""]
    elif inspect.isclass(value):
        lines += [f".. autoclass:: {name}", "   :members:", ""]
    else:
        lines += [f".. autofunction:: {name}", ""]
    if not isinstance(value, ModuleType):
        lines += [f".. minigallery:: {name}", "   :add-heading: In the gallery", "   :heading-level: -", ""]
    source = Path(inspect.getsourcefile(value) or "")
    if source.is_relative_to(ROOT):
        path = source.relative_to(ROOT).as_posix()
        lines += [f"In `{path} <../../source/{path}.html>`__.", ""]
    return "\n".join(lines)


def cell(line: str) -> str:
    """A first line as it stands in a table of Markdown."""
    parts = re.split(r"(`[^`]+`)", line)
    parts[::2] = [re.sub(r"([*_<>$])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts).replace("|", "\\|")


def table(found: re.Match[str]) -> str:
    """A table of names, and the tree of their pages."""
    names = [name if name in NAMES else f"linalign.{name}" for name in found[1].split()]
    names = [name for name in names if name in NAMES]
    rows = [f"| [`{name.removeprefix('linalign.')}`]({page_of(name).removeprefix('api/')}.rst) | {cell(summary(name))} |" for name in names]
    tree = ["```{toctree}", ":hidden:", "", *(page_of(name).removeprefix("api/") for name in names), "```"]
    return "\n".join(["| name | |", "|---|---|", *rows, "", *tree])


def read(app: Any, docname: str, source: list[str]) -> None:
    """Tables where a page asks for them, and the source files that pages of names link to."""
    source[0] = ASKED.sub(table, source[0])
    if docname.startswith("api/generated/"):
        value = NAMES[name_of(docname)]
        path = inspect.getsourcefile(value)
        if path and Path(path).is_relative_to(ROOT):
            app.env.metadata[docname]["shown"] = [path]


def setup(app: Any) -> dict[str, Any]:
    app.connect("builder-inited", write)
    app.connect("source-read", read, priority=400)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
