"""Docstrings of the house as reStructuredText, before autodoc reads them.

They are written to be read by `help`: a noun phrase, prose with code between backticks, lists of `name : what it is`, sections underlined
with dashes, tables set with spaces, doctests. Formulas have stars and underscores that mean nothing but themselves. Numbers of statements
become links to the theory, and names of the reference links to their pages.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

from linalign.theory.statements import STATEMENTS

from .names import NAMES, page_of
from .theory import SECTIONS

WORD = r"Shapes|Cost|Raises|Source|Returns|Memory"
LABEL = re.compile(rf"(?:^|(?<=[.)`])\s+)({WORD}):(?=\s)")
ITEM = re.compile(r"^(?!\s)(`?[\w*][\w*.`]*(?:, `?[\w*.`]+){0,8}) : ")
LISTS = ("Parameters", "Attributes", "Raises", "Returns")
TABLE = re.compile(r"^\S.*?\s{2,}\S")
STATEMENT = re.compile(r"\b([TL]\d+\.\d+|A\d+)\b|\bsections? (\d+)\b|(docs/theory)\b")


def inline(text: str, up: str = "../../") -> str:
    """A sentence: code, links, and everything else as it is."""
    parts = []
    for k, part in enumerate(re.split(r"`+([^`]+)`+", text)):
        if k % 2:
            name = part if part.startswith("linalign.") else f"linalign.{part}"
            known = name if name in NAMES else NAMES_BY_END.get(part)
            parts.append(f"\\ :py:obj:`{part} <{known}>`\\ " if known else f"\\ ``{part}``\\ ")
        else:
            parts.append(prose(part, up))
    return "".join(parts)


def prose(text: str, up: str) -> str:
    """Words without code; statements and sections of the theory are links."""
    made, at = [], 0
    theory = "docs/theory" in text or not re.search(r"section", text)
    for found in STATEMENT.finditer(text):
        number, section, whole = found.groups()
        if number in STATEMENTS:
            target = f"{STATEMENTS[number].page.removesuffix('.md')}.html#{STATEMENTS[number].anchor}"
        elif section in SECTIONS and theory:
            target = f"{SECTIONS[section]}.html#section-{section}"
        elif whole:
            target = "README.html"
        else:
            continue
        shown = "the theory" if whole else found[0]
        made += [escaped(text[at : found.start()]), f"\\ `{shown} <{up}theory/{target}>`__\\ "]
        at = found.end()
    return "".join([*made, escaped(text[at:])])


def escaped(text: str) -> str:
    return re.sub(r"([\\*_|`])", r"\\\1", text)


def indented(lines: list[str], by: str = "    ") -> list[str]:
    return [by + line if line else "" for line in lines]


def literal(lines: list[str], language: str = "none") -> list[str]:
    return [f".. code-block:: {language}", "", *indented(textwrap.dedent("\n".join(lines)).split("\n")), ""]


def paragraph(lines: list[str]) -> list[str]:
    """Prose; what begins with Shapes, Cost, Raises, Source or Returns stands by itself."""
    text = " ".join(line.strip() for line in lines)
    made, at = [], 0
    labels = [*LABEL.finditer(text)]
    for k, found in enumerate(labels):
        before = text[at : found.start()].strip()
        if before:
            made += [inline(before), ""]
        end = labels[k + 1].start() if k + 1 < len(labels) else len(text)
        made += [f"**{found[1]}:** {inline(text[found.end() : end].strip())}", ""]
        at = end
    rest = text[at:].strip()
    return [*made, inline(rest), ""] if rest else made


def below(lines: list[str], i: int) -> int:
    """Where the indented text below line i ends, with the empty lines in it."""
    end = i + 1
    while end < len(lines):
        filled = end if lines[end].strip() else end + 1
        if filled >= len(lines) or not lines[filled].startswith(" "):
            break
        end = filled + 1
    return end


def listed(lines: list[str], i: int) -> tuple[list[str], int]:
    """Names with what they are, from line i to an empty line that ends the list, and where that is."""
    made: list[str] = []
    while i < len(lines) and lines[i].strip():
        end = below(lines, i)
        term, _, text = lines[i].partition(" : ")
        body = converted(textwrap.dedent("\n".join(lines[i + 1 : end])).split("\n"))
        if text and body and re.match(r"\s+[^A-Z>\-]", lines[i + 1]) and len(lines[i]) > 100:
            # the sentence goes on in the next line
            body = converted([text, *textwrap.dedent("\n".join(lines[i + 1 : end])).split("\n")])
        elif text:
            body = [inline(text), "", *body]
        names = ", ".join(f"``{name.strip('` ')}``" for name in term.split(", "))
        made += [names, *indented(body), ""] if any(body) else [names, ""]
        i = end
    return made, i


def converted(lines: list[str]) -> list[str]:
    """The docstring, or the text below a name."""
    made: list[str] = []
    i, section, fresh = 0, "", False
    while i < len(lines):
        line = lines[i]
        if not line.strip():
            i += 1
            continue
        if re.fullmatch(r"-{3,}", "".join(lines[i + 1 : i + 2])):
            made += [f".. rubric:: {line}", ""]
            i, section, fresh = i + 2, line, True
            continue
        end = i
        while end < len(lines) and lines[end].strip():
            end += 1
        block = lines[i:end]
        described = len(block) > 1 and block[1].startswith(" ")
        if line.startswith(">>>"):
            made += [*block, ""]
        elif section == "Returns" and len(block) == 1 and f"linalign.{line}" in NAMES:
            made += [f":py:obj:`{line} <linalign.{line}>`", ""]
        elif line.startswith(" "):
            made += literal(block)
        elif line.startswith("from ") and " import " in line:
            made += literal(block, "python")
        elif line.startswith("- "):
            made += [*map(bullet, block), ""]
        elif ITEM.match(line) or (section in LISTS and (described or (fresh and section != "Returns"))):
            rows, end = listed(lines, i)
            made += rows
        elif len(block) > 1 and sum(bool(TABLE.match(part)) for part in block) > len(block) // 2:
            made += literal(block)
        else:
            made += paragraph(block)
            section = ""
        i, fresh = end, False
    return made


def bullet(line: str) -> str:
    space = line[: len(line) - len(line.lstrip())]
    mark = "- " if line.lstrip().startswith("- ") else ""
    return space + mark + inline(line.strip().removeprefix("- "))


NAMES_BY_END = {name.removeprefix("linalign."): name for name in NAMES} | {name.rpartition(".")[2]: name for name in reversed(NAMES)}


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    made = converted(list(lines))
    if name in NAMES and app.env.docname == page_of(name):
        from .examples import EXAMPLES

        if name in EXAMPLES:
            made += [".. rubric:: Example", "", *EXAMPLES[name].split("\n"), ""]
    lines[:] = made


def setup(app: Any) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", process)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
