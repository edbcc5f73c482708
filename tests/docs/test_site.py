"""The program that looks through the built site finds what is dead, and what a browser would fetch from elsewhere."""

import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
CHECK = DOCS / "sphinxext" / "check.py"
GOOD = '<h1 id="top">A</h1><a href="b.html#place">b</a><a href="#top">up</a><a href="https://example.org">out</a><img src="p.png" srcset="p.png 2x">'


def said(folder, page, style=""):
    """What the program says of a page beside another one, a picture and a style sheet, and its exit status."""
    (folder / "a.html").write_text(f'<link rel="stylesheet" href="s.css">{page}', encoding="utf-8")
    (folder / "b.html").write_text('<p id="place">', encoding="utf-8")
    (folder / "p.png").write_bytes(b"")
    (folder / "s.css").write_text(style, encoding="utf-8")
    done = subprocess.run([sys.executable, str(CHECK), str(folder)], capture_output=True, text=True, check=False)
    return done.stdout.splitlines(), done.returncode


def test_a_site_that_is_whole(tmp_path):
    assert said(tmp_path, GOOD, "b { background: url(p.png) }") == (
        ["every link leads somewhere, and nothing is fetched from elsewhere"],
        0,
    )


@pytest.mark.parametrize(
    ("page", "style", "line"),
    [
        ('<a href="c.html">', "", "a.html: c.html leads nowhere"),
        ('<a href="b.html#lost">', "", "a.html: b.html#lost has no such anchor"),
        ('<a href="#lost">', "", "a.html: #lost has no such anchor"),
        ('<img src="q.png">', "", "a.html: q.png leads nowhere"),
        ('<img srcset="p.png, q.png 2x">', "", "a.html: q.png leads nowhere"),
        ('<script src="https://cdn.example.org/x.js">', "", "a.html: https://cdn.example.org/x.js would be fetched from elsewhere"),
        ('<link rel="stylesheet" href="//example.org/x.css">', "", "a.html: //example.org/x.css would be fetched from elsewhere"),
        ('<p style="background: url(https://example.org/x)">', "", "a.html: https://example.org/x would be fetched from elsewhere"),
        ("", '@import "https://example.org/font.css";', "s.css: https://example.org/font.css would be fetched from elsewhere"),
        ("", "@font-face { src: url('lost.woff') }", "s.css: lost.woff leads nowhere"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, page, style, line):
    lines, status = said(tmp_path, GOOD + page, style)
    assert lines == [line]
    assert status == 1


def test_a_folder_without_pages_is_no_site(tmp_path):
    done = subprocess.run([sys.executable, str(CHECK), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
