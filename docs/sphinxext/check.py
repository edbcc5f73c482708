"""The built site, looked through: no link, anchor or image is dead, and nothing is fetched from elsewhere.

`python docs/sphinxext/check.py DIR`. A link that a reader may follow, `<a href="https://...">`, may lead out; what a browser would load by
itself may not.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# by element, the attributes that a browser loads, and those that it follows when a reader says so
LOADED = {"img": ("src", "srcset"), "script": ("src",), "source": ("src", "srcset"), "video": ("src", "poster"), "audio": ("src",),
          "iframe": ("src",), "embed": ("src",), "object": ("data",), "input": ("src",)}  # fmt: skip
# kinds of <link> that name a page and load nothing
NAMED = {"canonical", "index", "search", "next", "prev", "author", "help", "copyright", "top", "up", "license"}
IN_CSS = re.compile(r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""")


@dataclass
class Page(HTMLParser):
    """What one page has and wants."""

    ids: set[str] = field(default_factory=set)
    followed: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = {name: value or "" for name, value in attrs}
        self.ids |= {about[name] for name in ("id", "name") if about.get(name)}
        if tag == "a" and "href" in about:
            self.followed.append(about["href"])
        if tag == "link" and "href" in about:
            kinds = set(about.get("rel", "").split())
            (self.followed if kinds <= NAMED else self.loaded).append(about["href"])
        for name in LOADED.get(tag, ()):
            if about.get(name):
                self.loaded += [part.split()[0] for part in about[name].split(",")] if name == "srcset" else [about[name]]
        if about.get("style"):
            self.loaded += in_css(about["style"])

    def handle_data(self, data: str) -> None:
        if "@import" in data and self.lasttag == "style":
            self.loaded += in_css(data)


def in_css(text: str) -> list[str]:
    """What a style sheet loads."""
    return [one or other for one, other in IN_CSS.findall(text)]


def read(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def troubles(root: Path) -> Iterator[str]:
    """A line for each dead link and each thing from elsewhere."""
    pages = {path.resolve(): read(path) for path in sorted(root.rglob("*.html")) if "_static" not in path.parts}
    if not pages:
        yield f"{root} has no page"
    for path, page in pages.items():
        here = path.relative_to(root.resolve())
        for target in page.loaded:
            yield from missing(here, path, target, pages, loaded=True)
        for target in page.followed:
            yield from missing(here, path, target, pages, loaded=False)
    for path in sorted(root.rglob("*.css")):
        for target in in_css(path.read_text(encoding="utf-8")):
            yield from missing(path.relative_to(root), path.resolve(), target, pages, loaded=True)


def missing(here: Path, path: Path, target: str, pages: dict[Path, Page], *, loaded: bool) -> Iterator[str]:
    """A line if the target is dead, or is loaded from elsewhere."""
    parts = urlsplit(target)
    if parts.scheme == "data" or (parts.scheme in ("mailto", "javascript") and not loaded):
        return
    if parts.scheme or parts.netloc:
        if loaded:
            yield f"{here}: {target} would be fetched from elsewhere"
        return
    reached = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if reached.is_dir():
        reached /= "index.html"
    if not reached.exists():
        yield f"{here}: {target} leads nowhere"
    elif parts.fragment and reached in pages and unquote(parts.fragment) not in pages[reached].ids:
        yield f"{here}: {target} has no such anchor"


def main() -> int:
    found = list(dict.fromkeys(troubles(Path(sys.argv[1]))))
    print("\n".join(found) if found else "every link leads somewhere, and nothing is fetched from elsewhere")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
