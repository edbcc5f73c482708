"""Markdown that is read on a code host too, with the links and anchors that work there.

`<a id="t1-1"></a>` becomes a target of Sphinx; a link to a file outside `docs/` leads to the page that shows the file (sources.py), or to
the page of the site that is made of it. A page that says `<!-- text of ../CONTRIBUTING.md -->` and no more is made of that file.
Code such as `la.train` leads to the page of that name in the reference, numbers such as T8.1 to their statement, and the head of the
gallery to the gallery that is made of it.
`<!-- pages: a b -->`, which a code host does not show, puts these pages below the one that says so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from linalign.theory.statements import STATEMENTS

from .names import NAMES, page_of

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
FENCE = re.compile(r"^(?P<fence>```+|:::+|~~~+).*?^(?P=fence) *$", flags=re.S | re.M)
ANCHORS = re.compile(r'^(?:<a id="[^"\n]+"></a>)+$', flags=re.M)
LINK = re.compile(r"(?<=\]\()(?!#|[a-z]+:)([^()\s#]+)(#[^()\s]+)?\)")
PAGES = re.compile(r"^<!-- pages:([^>]+) -->$", flags=re.M)
CODE = re.compile(r"`[^`\n]*`|^#.*$", flags=re.M)
STATEMENT = re.compile(r"\b([TL]\d+\.\d+)\b(?!\])")
WHOLE = re.compile(r"!?\[[^\]]*\]\([^)]*\)")
NAME = re.compile(r"`(?:la|linalign)\.([A-Za-z_][\w.]*\w)(?:\([^`\n]*\))?`")
HEAD = DOCS / "gallery" / "GALLERY_HEADER.rst"
OTHER = re.compile(r"\s*<!-- text of (\S+) -->\s*")


def outside(kept: re.Pattern[str], text: str, change: Callable[[str], str]) -> str:
    """The text, with what stands between such places changed."""
    parts, at = [], 0
    for found in kept.finditer(text):
        parts += [change(text[at : found.start()]), found[0]]
        at = found.end()
    return "".join([*parts, change(text[at:])])


def made_of() -> dict[Path, str]:
    """Files outside of `docs/` that a page is made of, and the name of that page."""
    pages = {}
    for path in DOCS.rglob("*.md"):
        found = OTHER.fullmatch(path.read_text(encoding="utf-8"))
        if found:
            pages[(path.parent / found[1]).resolve()] = path.relative_to(DOCS).as_posix()
    return pages


def as_myst(text: str, docname: str, base: Path, pages: dict[Path, str], shown: set[Path]) -> str:
    """The text of a page as MyST has it. Links are relative to `base`; files outside that are linked to are added to `shown`."""
    here = DOCS / Path(docname).parent
    up = "../" * docname.count("/")

    def link(found: re.Match[str]) -> str:
        path, anchor = (base / found[1]).resolve(), found[2] or ""
        if path == HEAD:
            return f"{os.path.relpath(DOCS / 'auto_gallery' / 'index.rst', here)})"
        if path in pages:
            path = DOCS / pages[path]
        if path.is_relative_to(DOCS) and path.suffix in (".md", ".png", ".svg"):
            return f"{os.path.relpath(path, here)}{anchor})"
        if path.is_dir():
            raise ValueError(f"{docname}: {found[1]} is a folder; a file in it was wanted")
        shown.add(path)
        return f"{up}source/{path.relative_to(ROOT).as_posix()}.html{anchor}){{.external}}"

    def statement(found: re.Match[str]) -> str:
        known = STATEMENTS.get(found[1])
        return f"[{found[1]}]({up}theory/{known.page}#{known.anchor})" if known else found[0]

    def name(found: re.Match[str]) -> str:
        known = f"linalign.{found[1]}"
        return f"[{found[0]}]({up}{page_of(known)}.rst)" if known in NAMES else found[0]

    def change(part: str) -> str:
        part = ANCHORS.sub(lambda found: "\n".join(f"({name})=" for name in re.findall(r'"([^"]+)"', found[0])), part)
        part = PAGES.sub(lambda found: "\n".join(["```{toctree}", ":hidden:", "", *found[1].split(), "```"]), part)
        part = outside(WHOLE, LINK.sub(link, part), lambda text: NAME.sub(name, text))
        if docname.startswith("theory/"):
            return part
        return outside(WHOLE, part, lambda text: outside(CODE, text, lambda words: STATEMENT.sub(statement, words)))

    return outside(FENCE, text, change)


def read(app: Any, docname: str, source: list[str]) -> None:
    """What Sphinx is given in place of a page as written."""
    if not str(app.env.doc2path(docname)).endswith(".md"):
        return
    text, base = source[0], DOCS / Path(docname).parent
    other = OTHER.fullmatch(text)
    if other:
        path = (base / other[1]).resolve()
        app.env.note_dependency(str(path))
        text, base = path.read_text(encoding="utf-8"), path.parent
    shown: set[Path] = set()
    source[0] = as_myst(text, docname, base, made_of(), shown)
    app.env.metadata[docname]["shown"] = sorted(map(str, shown))


def setup(app: Any) -> dict[str, Any]:
    app.connect("source-read", read)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
