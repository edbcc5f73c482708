"""Draws: random entries of fixed cases, each from a seed of its own, so that no case depends on those that stand before it."""

from __future__ import annotations

import numpy as np


def gaussian(seed, *shape):
    """Standard normal entries."""
    return np.random.default_rng(seed).standard_normal(shape)


def mask(seed, share, *shape):
    """True in about this share of the entries."""
    return np.random.default_rng(seed).random(shape) < share
