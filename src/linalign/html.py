"""HTML for notebooks: tables of what an object says of itself. Every text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

CELL = 'style="text-align: left; vertical-align: top"'


def escape(text: str) -> str:
    """Text as it stands in a page."""
    # by nobody who does not look at a page
    import html

    return html.escape(text)


def text(*lines: str) -> str:
    """Paragraphs."""
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def table(rows: Iterable[Sequence[object]], columns: Sequence[str] = ()) -> str:
    """A table, the first cell of a row in bold."""
    head = f"<thead><tr>{''.join(f'<th {CELL}>{escape(name)}</th>' for name in columns)}</tr></thead>" if columns else ""
    return f"<table>{head}<tbody>{''.join(map(_row, rows))}</tbody></table>"


def _row(cells: Sequence[object]) -> str:
    first, *others = (escape(str(cell)) for cell in cells)
    return f"<tr><th {CELL}>{first}</th>{''.join(f'<td {CELL}>{cell}</td>' for cell in others)}</tr>"


def folded(title: str, inside: str) -> str:
    """What is shown on a click; `inside` is HTML."""
    return f"<details><summary>{escape(title)}</summary>{inside}</details>"


def page(*parts: str) -> str:
    """Parts that are HTML, as one element."""
    return f'<div class="linalign">{"".join(parts)}</div>'
