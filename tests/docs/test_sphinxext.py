"""What is done to Markdown and docstrings before Sphinx reads them: links lead where the site has them, and no word is lost."""

import inspect
import re
import textwrap

import pytest
from sphinxext.benchmarks import RESULTS, by_section, measured, part
from sphinxext.docstrings import converted
from sphinxext.markdown import DOCS, ROOT, as_myst, made_of
from sphinxext.names import NAMES


def myst(text, docname="guide/page"):
    shown = set()
    return as_myst(text, docname, (DOCS / docname).parent, made_of(), shown), shown


def test_anchors_become_targets():
    assert myst('<a id="a"></a><a id="b"></a>\n**T1.1**\n', "theory/page")[0] == "(a)=\n(b)=\n**T1.1**\n"


def test_links_lead_where_the_site_has_them():
    assert myst("[p](plans.md#x) [t](../theory/flow.md#t15-1)")[0] == "[p](plans.md#x) [t](../theory/flow.md#t15-1)"
    assert myst("[c](../../CONTRIBUTING.md#code)")[0] == "[c](../contributing.md#code)"
    text, shown = myst("[n](../../src/linalign/problem/network.py)")
    assert text == "[n](../source/src/linalign/problem/network.py.html){.external}"
    assert shown == {ROOT / "src" / "linalign" / "problem" / "network.py"}
    assert myst("[g](../gallery/GALLERY_HEADER.rst)")[0] == "[g](../auto_gallery/index.rst)"
    with pytest.raises(ValueError, match="is a folder"):
        myst("[f](../../src)")


def test_names_and_statements_lead_to_what_they_name():
    assert myst("`la.train(net, X)` and `la.flow`, T8.1")[0] == (
        "[`la.train(net, X)`](../api/generated/linalign.train.rst) and [`la.flow`](../api/generated/linalign.flow-function.rst), "
        "[T8.1](../theory/reductions.md#t8-1)"
    )
    # neither in headings, links nor code, and nothing that there is not
    for text in ("# T8.1", "[`la.train`, T8.1](plans.md)", "`T8.1`", "```python\nla.train  # `la.train`, T8.1\n```", "`la.trian`, T64"):
        assert myst(text)[0] == text


def test_pages_below_a_page():
    assert myst("<!-- pages: a ../b -->")[0] == "```{toctree}\n:hidden:\n\na\n../b\n```"


def words(text):
    """Letters and digits that stand together, whatever is between them."""
    return re.findall(r"[^\W_]+", text)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_no_word_of_a_docstring_is_lost(name):
    text = inspect.getdoc(NAMES[name])
    made = "\n".join(converted(text.split("\n")))
    # what was added: directives, and where links lead
    made = re.sub(r"^ *\.\. (?:rubric::|code-block:: \w+)", "", made, flags=re.M)
    made = re.sub(r"`the theory <[^`> ]*>`__", "docs/theory", made)
    made = re.sub(r"(?<!`)`([^`]*?) <[^`> ]*>`(?:__)?", r"\1", made).replace(":py:obj:", "")
    assert words(made) == words(text)


def test_a_docstring_of_every_kind_of_part():
    text = """
        A noun, `sum_i x_i * y_i`, T8.1.

        Parameters
        ----------
        net : Network
            The start.
        lr, decay : numbers

        Cost: little. Raises: ValueError.

        a    one
        b    another
        """
    assert converted(textwrap.dedent(text).strip().split("\n")) == [
        "A noun, \\ ``sum_i x_i * y_i``\\ , \\ `T8.1 <../../theory/reductions.html#t8-1>`__\\ .", "",
        ".. rubric:: Parameters", "",
        "``net``", "    Network", "", "    The start.", "", "",
        "``lr``, ``decay``", "    numbers", "", "",
        "**Cost:** little.", "", "**Raises:** ValueError.", "",
        ".. code-block:: none", "", "    a    one", "    b    another", "",
    ]  # fmt: skip


def test_every_row_that_was_measured_is_on_the_page():
    files = sorted(RESULTS.glob("*.json"))
    assert files
    for path in files:
        text = part(path)
        heads = [head for group in by_section(measured(path)).values() for head, _, _ in group]
        assert len(heads) > 10
        assert all(f"| {head.label.strip()} |" in text for head in heads)
        slower = [head for head in heads if head.ratio is not None and head.ratio < 1 and not head.at_most]
        assert all("slower here" in text for head in slower)
