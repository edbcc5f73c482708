"""Where the sections of the theory stand: number to page."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "theory"
SECTIONS = {
    number: path.stem for path in FOLDER.glob("*.md") for number in re.findall(r'<a id="section-(\d+)">', path.read_text(encoding="utf-8"))
}
