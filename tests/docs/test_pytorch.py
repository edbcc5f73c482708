"""docs/pytorch.md: its blocks run, one after the other, and what they assert holds."""

import re
from pathlib import Path

from tests.required import oracle

PAGE = (Path(__file__).parents[2] / "docs" / "pytorch.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.S | re.M)
SHOWN = re.findall(r"^```text\n(.*?)^```$", PAGE, flags=re.S | re.M)


def test_the_page_runs(capsys):
    torch = oracle("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        shared = {"__name__": "pytorch"}
        for block in BLOCKS:
            exec(compile(block, "docs/pytorch.md", "exec"), shared)
    finally:
        torch.set_num_threads(threads)
    assert len(BLOCKS) == 8
    said = capsys.readouterr().out
    assert "Network(20-64-64-3, float32)" in said
    assert SHOWN
    assert all(text in said for text in SHOWN)
    assert "Toeplitz(n_in=8, n_out=8)" in said
    assert "(5, 2)\n" in said
    assert shared["run"].plan.rows_after == 21
    # the gradient at which L-BFGS-B stops by its default
    assert float(said.splitlines()[-1]) < 1e-4
