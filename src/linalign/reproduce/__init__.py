"""Reproduce: the paper's story as claims, each with an experiment that could refute it, and a page with the verdicts."""

from .claim import Check, Claim, Verdict
from .setting import Setting
from .story import CLAIMS, redraw, reproduce

__all__ = ["CLAIMS", "Check", "Claim", "Setting", "Verdict", "redraw", "reproduce"]
