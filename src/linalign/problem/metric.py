"""Metrics: gradient descent on the parameters of a layer, or projected gradient descent on its matrix (T5.1)."""

from __future__ import annotations

import numpy as np

from .network import Network

METRICS = ("parameters", "matrix")
# what runs, plans and journals meant that were written before they said
UNSAID = "matrix"


def differ(net: Network) -> list[int]:
    """The layers on which the two are not the same, counted from 0."""
    return [] if net.is_dense else [i for i, layer in enumerate(net.layers) if not layer.orthonormal]


def sentence(net: Network, metric: str) -> str:
    """What the metric does where the two differ; empty where they do not."""
    where = differ(net)
    if not where:
        return ""
    layers = [net.layers[i] for i in where]
    named = f"layer{'s' * (len(where) > 1)} {', '.join(str(i + 1) for i in where)}"
    if any(layer.linear.form.kind == "basis" for layer in layers):
        here = {
            "parameters": "gradients are those in the parameters, as autograd",
            "matrix": "gradients are solved with the bases' Gram matrix",
        }
        there = {"parameters": "solves none, as autograd", "matrix": "solves them with the bases' Gram matrix"}
    else:
        counts = np.concatenate([np.ravel(layer.multiplicity) for layer in layers])
        least, most = int(counts.min()), int(counts.max())
        entries = f"{most:,}" if least == most else f"{least:,} to {most:,}"
        here = {
            "parameters": f"gradients sum a parameter's {entries} entries, as autograd",
            "matrix": f"gradients average a parameter's {entries} entries",
        }
        there = {"parameters": "sums them, as autograd", "matrix": "averages them"}
    other = METRICS[1 - METRICS.index(metric)]
    return f"{named}: {here[metric]} (T5.1); metric={other!r} {there[other]}"
