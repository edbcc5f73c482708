"""The page: `report.html`, one file with its pictures inside."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..engine.config import config
from ..files import replacing
from ..theory.statements import cited
from ..training.plot import save
from .claim import Arrays, Claim, Verdict

DIGITS = "the digits of 8 x 8 pixels that come with scikit-learn, scaled to 28 x 28 where the authors have MNIST (--data takes that)"

STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; color: #1c1c1c; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: 0.3rem; } h2 { font-size: 1.25rem; margin: 2.4rem 0 0.4rem; }
h3 { font-size: 1.05rem; margin: 1.2rem 0 0.2rem; }
p { margin: 0.5rem 0; max-width: 52rem; } figure { margin: 1rem 0; } figure img { max-width: 100%; height: auto; }
figcaption, .small { color: #555; font-size: 0.9rem; } a { color: #0060a0; }
table { border-collapse: collapse; font-size: 0.92rem; }
th, td { text-align: left; padding: 0.25rem 0.8rem 0.25rem 0; vertical-align: top; }
thead th { border-bottom: 2px solid #999; } tbody td { border-bottom: 1px solid #e3e3e3; }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap; }
.yes { color: #00694b; font-weight: 600; } .no { color: #b3261e; font-weight: 600; }
""".strip()


def picture(claim: Claim, arrays: Arrays, path: Path) -> None:
    """The claim's figure. Raises: ImportError without matplotlib."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        raise ImportError("the report needs matplotlib, which is not installed; pip install 'linalign[plot]'") from None
    figure = Figure(layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.06))
    claim.draw(figure, arrays)
    if claim.heading:
        figure.suptitle(claim.heading, x=0.01, ha="left", fontsize=10, color="#555555")
    save(figure, path, dpi=130)


def write(out: Path, verdicts: Sequence[Verdict], about: dict[str, Any]) -> Path:
    """The report of these verdicts, whose pictures are in `out`. `about`: how the measurements came about."""
    confirmed = sum(verdict.confirmed for verdict in verdicts)
    text = html.escape
    data = DIGITS if about["data"] == "digits" else str(about["data"])
    data += ", the quick version with fewer samples and steps" if about["quick"] else ""
    parts = [
        "<!DOCTYPE html>", '<html lang="en"><head><meta charset="utf-8"><title>Alignment in deep linear networks, reproduced</title>',
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>',
        "<h1>Alignment in deep linear networks, reproduced</h1>",
        f"<p>A deep linear network is f(x) = W<sub>d</sub> &hellip; W<sub>1</sub> x. Its layers are <em>aligned</em> if each takes the "
        f"output "
        "singular vectors of the one before as its input singular vectors: the network is then a few independent chains of numbers. The "
        "paper "
        '<a href="https://arxiv.org/abs/2003.06340">On Alignment in Deep Linear Neural Networks</a> asks when gradient descent keeps such '
        "layers aligned. Each claim below was tried by an experiment that could have refuted it; the numbers were compared with bounds "
        "that were "
        f"fixed beforehand. Statements in brackets such as (T3.2) are <a href=\"#statements\">listed below</a>. Data: {text(data)}.</p>",
        f'<p><span class="{"yes" if confirmed == len(verdicts) else "no"}">{confirmed} of {len(verdicts)} claims confirmed.</span></p>',
        "<table><thead><tr><th>claim</th><th>verdict</th><th>checks</th><th>time</th></tr></thead><tbody>",
    ]  # fmt: skip
    for v in verdicts:
        passed = sum(check.passed for check in v.checks)
        parts.append(
            f'<tr><td><a href="#{v.claim.name}">{text(v.claim.title)}</a></td><td>{_word(v.confirmed)}</td>'
            f'<td class="n">{passed} of {len(v.checks)}</td><td class="n">{v.seconds:.1f} s</td></tr>'
        )
    parts.append("</tbody></table>")
    for v in verdicts:
        parts += _section(v, out)
    parts += _statements(verdicts)
    versions = "\n".join(f"{name:<16} {value}" for name, value in config().items())
    parts.append(
        '<h2>How this page was made</h2><p class="small">By <code>linalign reproduce</code>. The measurements of each claim are in '
        "the .npz file of its name beside this page, the pictures in .png files; <code>linalign reproduce --redraw</code> makes verdicts, "
        "pictures and "
        f'page again from them.</p><pre class="small">{text(versions)}</pre></body></html>'
    )
    path = out / "report.html"
    with replacing(path) as file:
        file.write(("\n".join(parts) + "\n").encode())
    return path


def _word(confirmed: bool) -> str:
    return '<span class="yes">confirmed</span>' if confirmed else '<span class="no">not confirmed</span>'


def _section(v: Verdict, out: Path) -> list[str]:
    text, claim = html.escape, v.claim
    image = base64.b64encode((out / f"{claim.name}.png").read_bytes()).decode()
    rows = [
        f'<tr><td>{text(check.what)}</td><td class="n">{_number(check.value)}</td>'
        f'<td class="n">{"&le;" if check.at_most else "&ge;"} {_number(check.bound)}</td>'
        f'<td>{"yes" if check.passed else _no()}</td></tr>'
        for check in v.checks
    ]  # fmt: skip
    caption = text(claim.caption)
    return [
        f'<h2 id="{claim.name}">{text(claim.title)}</h2>',
        f"<p>{_linked(claim.statement)}</p><p><strong>Experiment.</strong> {_linked(claim.experiment)}</p>",
        f'<figure><img alt="{caption}" src="data:image/png;base64,{image}"><figcaption>{_linked(claim.caption)}</figcaption></figure>',
        f"<p><strong>Verdict:</strong> {_word(v.confirmed)}.</p>",
        "<table><thead><tr><th>number</th><th>measured</th><th>bound</th><th>passed</th></tr></thead><tbody>",
        *rows,
        "</tbody></table>",
        *_compared(v),
    ]


def _compared(v: Verdict) -> list[str]:
    """What was measured beside what was published."""
    if not v.comparisons:
        return []
    text = html.escape
    rows = []
    for c in v.comparisons:
        spread = [float(value) for value in c.values]
        shown = _number(c.middle) + (f" ({_number(min(spread))} to {_number(max(spread))})" if len(spread) > 1 else "")
        rows.append(
            f'<tr><td>{text(c.what)}</td><td class="n">{text(c.published)}</td><td class="n">{shown}</td>'
            f'<td class="n">{_number(c.low)} to {_number(c.high)}</td><td>{"yes" if c.within else "outside"}</td></tr>'
        )
    return [
        '<h3>Beside the published curves</h3><p class="small">Read off pictures, of one run each. Images and draws differ: these are bands '
        "around the published values, of a factor of two for losses and steps, and they count for no verdict. What falls outside is shown "
        "as outside. For several draws the median and the range.</p>",
        "<table><thead><tr><th>number</th><th>published</th><th>here</th><th>band</th><th>in the band</th></tr></thead><tbody>",
        *rows,
        "</tbody></table>",
    ]


def _linked(text: str) -> str:
    """The text with every statement that it names linked to the list at the end of the page."""
    text = html.escape(text)
    for statement in cited(text):
        text = re.sub(rf"\b{re.escape(statement.number)}\b", f'<a href="#{statement.anchor}">{statement.number}</a>', text)
    return text


def _statements(verdicts: Sequence[Verdict]) -> list[str]:
    """The statements that the claims name, with their content and the page that proves them."""
    named = cited("\n".join(f"{v.claim.statement} {v.claim.experiment} {v.claim.caption}" for v in verdicts))
    rows = [
        f'<tr id="{s.anchor}"><td class="n">{s.number}</td><td>{html.escape(s.content)}</td><td><code>{s.path}</code></td></tr>'
        for s in named
    ]
    return [
        '<h2 id="statements">Statements</h2>',
        "<p>Proved on the pages of linalign's repository that stand beside them.</p>",
        "<table><thead><tr><th>number</th><th>content</th><th>page</th></tr></thead><tbody>",
        *rows,
        "</tbody></table>",
    ]


def _no() -> str:
    return '<span class="no">no</span>'


def _number(value: Any) -> str:
    number = float(value)
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"
