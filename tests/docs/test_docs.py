"""Documentation: every statement that is cited has an anchor, every link leads somewhere, formulas survive Markdown."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from linalign.theory.statements import STATEMENTS

ROOT = Path(__file__).parents[2]
THEORY = ROOT / "docs" / "theory"
NOT_CITING = ("docs/theory/", "CHANGELOG.md", "tests/docs/test_docs.py")  # the statements themselves, and examples of references


@cache
def tree():
    """Text files of the tree by path: what git tracks, or, without git, everything that is not made by a build."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
        names = [name for name in listed if name and (ROOT / name).is_file()]
    else:
        made = {"build", "dist", "demo", "__pycache__", "auto_bench", "auto_gallery", "backreferences", "generated"}
        found = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
        names = [p.as_posix() for p in found if not any(part in made or (part[0] == "." and part != ".ci") for part in p.parts)]
    texts = {}
    for name in names:
        try:
            texts[name] = (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return texts


def pages():
    return {name: text for name, text in tree().items() if name.endswith(".md")}


def without_code(text):
    text = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    return re.sub(r"`[^`\n]*`", "", text)


@cache
def anchors(name):
    """What `#...` can follow the file: explicit anchors, and the slugs that GitHub makes of headings."""
    text = re.sub(r"^```.*?^```", "", tree()[name], flags=re.S | re.M)
    found = re.findall(r'<a id="([^"]+)">', text)
    for heading in re.findall(r"^#+ +(.+)$", text, flags=re.M):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.append(slug if slug not in found else f"{slug}-{found.count(slug)}")
    return found


@cache
def theory_anchors():
    """Anchor to page, of all pages of the theory."""
    return {anchor: name for name in pages() if name.startswith("docs/theory/") for anchor in anchors(name)}


# --- statements -------------------------------------------------------------------------------------------------------------------

NUMBER = r"\b[TL]\d+\.\d+\b"
ALGORITHM = r"[Aa]lgorithms? (A\d+(?:(?:, | and | to )A\d+)*)"
SECTION = r"(?:docs/theory, |the theory, )sections? (\d+(?:(?:, | and | to )\d+)*)|[Ss]ections? (\d+(?:(?:, | and | to )\d+)*) of (?:docs/theory|the theory)"


def cited(text):
    """Anchors of the statements, algorithms and sections of the theory that a text names. Line breaks count as spaces."""
    text = re.sub(r"\s*\n[\s#*/]*", " ", text)
    found = {number.lower().replace(".", "-") for number in re.findall(NUMBER, text)}
    found |= {number.lower() for names in re.findall(ALGORITHM, text) for number in re.findall(r"A\d+", names)}
    return found | {f"section-{n}" for names in re.findall(SECTION, text) for n in re.findall(r"\d+", "".join(names))}


def test_references_are_recognised():
    text = "by T8.1 and L3.1 (algorithms A1,\n    A2); docs/theory, sections 7 and 10; section 4 of the theory; T64, A_1, section 9 of another book"
    assert cited(text) == {"t8-1", "l3-1", "a1", "a2", "section-7", "section-10", "section-4"}


def test_every_statement_that_is_cited_has_an_anchor():
    lost = [
        f"{name}: {anchor}"
        for name, text in tree().items()
        if not name.startswith(NOT_CITING)
        for anchor in cited(text)
        if anchor not in theory_anchors()
    ]
    assert not lost
    assert len({anchor for name, text in tree().items() if name.startswith("src/") for anchor in cited(text)}) > 30


def test_every_statement_stands_in_the_table_of_the_theory_and_in_the_package():
    numbers = {anchor for anchor in theory_anchors() if re.fullmatch(r"[tl]\d+-\d+|a\d+", anchor)}
    table = re.findall(r"^\| \[([TLA][\d.]+)\]\(([\w.]+)#([\w-]+)\) \|", tree()["docs/theory/README.md"], flags=re.M)
    assert {anchor for _, _, anchor in table} == numbers
    for number, page, anchor in table:
        assert anchor == number.lower().replace(".", "-")
        assert theory_anchors()[anchor] == f"docs/theory/{page}"
        assert STATEMENTS[number].page == page
    assert set(STATEMENTS) == {number for number, _, _ in table}


def test_anchors_of_the_theory_are_unique():
    explicit = [anchor for name in pages() if name.startswith("docs/theory/") for anchor in re.findall(r'<a id="([^"]+)">', pages()[name])]
    assert sorted(explicit) == sorted(set(explicit))


# --- links ------------------------------------------------------------------------------------------------------------------------


def links(text):
    """Targets of links and images that stay in the tree."""
    plain = re.sub(r"\$\$.*?\$\$|\$[^$\n]*\$", "", without_code(text), flags=re.S)
    found = re.findall(r"\]\(([^()\s]+)\)", plain) + re.findall(r'(?:src|href)="([^"]+)"', plain)
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def test_links_are_recognised():
    assert links('[a](b.md#c) ![d](e.png) `[f](g)` $[h](i)$ <img src="j.png"> [k](https://l)') == ["b.md#c", "e.png", "j.png"]


@pytest.mark.parametrize("name", sorted(pages()))
def test_links_of_a_page_lead_somewhere(name):
    for target in links(pages()[name]):
        path, _, anchor = target.partition("#")
        reached = ((ROOT / name).parent / path).resolve() if path else ROOT / name
        assert reached.exists(), f"{name}: {target}"
        assert reached.is_relative_to(ROOT), f"{name}: {target}"
        if anchor:
            assert anchor in anchors(reached.relative_to(ROOT).as_posix()), f"{name}: {target}"


def test_the_architecture_has_every_room():
    table = [line for line in pages()["docs/architecture.md"].split("\n") if line.startswith("| [")]
    rooms = {name.split("/")[2] for name in tree() if name.startswith("src/linalign/") and name.count("/") > 2} - {"_kernels"}
    assert rooms <= set(re.findall(r"\[(\w+)\]\(\.\./src/linalign/", "\n".join(table)))


# --- formulas ---------------------------------------------------------------------------------------------------------------------


def formulas(text):
    """Formulas of a page with the characters around them: `$..$` in a line, `$$` on lines of their own around a display."""
    text = without_code(text)
    display = r"^ *\$\$\n(.*?)\n *\$\$$"
    for found in re.finditer(display, text, flags=re.S | re.M):
        yield "\n", found[1], "\n"
    for line in re.sub(display, "", text, flags=re.S | re.M).split("\n"):
        assert line.count("$") % 2 == 0, f"a formula is broken across lines, or not closed: {line}"
        for found in re.finditer(r"\$([^$]+)\$", line):
            yield line[found.start() - 1 : found.start()], found[1], line[found.end() : found.end() + 1]


@pytest.mark.parametrize("name", sorted(name for name in pages() if name.startswith("docs/")))
def test_formulas_survive_markdown(name):
    """Nothing in a formula means something to Markdown, so that every renderer, GitHub's first, hands it on as it is."""
    for before, formula, after in formulas(pages()[name]):
        if before == "\n":
            assert not re.search(r"^ *[-+=#]", formula, flags=re.M), f"a line begins like a list or a heading: {formula}"
        else:
            assert formula == formula.strip(), f"space at the end: {formula}"
            assert not before.isalnum(), f"a letter touches {formula}"
            assert not after.isalnum(), f"a letter touches {formula}"
        assert not re.search(r"\\[^A-Za-z\s]", formula), f"Markdown takes the backslash: {formula}"
        assert not re.search(r"[*<>|~]|\]\(|(?<![A-Za-z0-9])_(?!\s)", formula), f"Markdown reads this as its own: {formula}"
        assert formula.count("{") == formula.count("}"), formula


# --- talk -------------------------------------------------------------------------------------------------------------------------

TALK = (r"design\.md", r"style\.md", r"house\.md", r"[Ii]ssue \d", r"\bas\sasked", r"[Tt]h(e|is) issue\b", r"[Ww]anted\sratio")


def test_nothing_in_the_tree_speaks_of_who_asked_for_it():
    said = [f"{name}: {found[0]}" for name, text in tree().items() for pattern in TALK for found in re.finditer(pattern, text)]
    assert not said
