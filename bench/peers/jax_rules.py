"""Update rules in JAX: of each a start of its state, and a function `(W, gradients, state) -> (W, state)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..descents import QUINTIC, RULES

Layers = list[jax.Array]
Update = Callable[[Layers, Layers, Any], tuple[Layers, Any]]


def start(rule: str, W: Layers) -> Any:
    """What a rule keeps between steps, before the first."""
    if rule == "adam":
        return [jnp.zeros_like(w) for w in W], [jnp.zeros_like(w) for w in W], jnp.ones(2, W[0].dtype)
    return [jnp.zeros_like(w) for w in W] if rule == "muon" else ()


def update(rule: str, lr: float) -> Update:
    if rule == "sgd":
        return lambda W, G, state: ([w - lr * g for w, g in zip(W, G, strict=True)], state)
    if rule == "adam":
        return lambda W, G, state: _adam(lr, W, G, state)
    if rule == "muon":
        return lambda W, G, state: _muon(lr, W, G, state)
    raise ValueError(f"rule is {rule!r}; JAX's peer knows 'sgd', 'adam' and 'muon'")


def _adam(lr: float, W: Layers, G: Layers, state: Any) -> tuple[Layers, Any]:
    b1, b2, eps = (RULES["adam"][name] for name in ("b1", "b2", "eps"))
    m, v, powers = state
    powers = powers * jnp.array([b1, b2], powers.dtype)
    m = [b1 * a + (1 - b1) * g for a, g in zip(m, G, strict=True)]
    v = [b2 * a + (1 - b2) * g * g for a, g in zip(v, G, strict=True)]
    root = jnp.sqrt(1 - powers[1])
    rate = lr * root / (1 - powers[0])
    W = [w - rate * a / (jnp.sqrt(s) + eps * root) for w, a, s in zip(W, m, v, strict=True)]
    return W, (m, v, powers)


def _muon(lr: float, W: Layers, G: Layers, means: Layers) -> tuple[Layers, Any]:
    b, decay = RULES["muon"]["momentum"], RULES["muon"]["weight_decay"]
    means = [b * m + (1 - b) * g for m, g in zip(means, G, strict=True)]
    turned = [_orthogonal((1 - b) * g + b * m) for g, m in zip(G, means, strict=True)]
    # weights are (in, out) here
    scales = [lr * max(1.0, w.shape[1] / w.shape[0]) ** 0.5 for w in W]
    return [(1 - lr * decay) * w - s * t for w, s, t in zip(W, scales, turned, strict=True)], means


def _orthogonal(M: jax.Array) -> jax.Array:
    a, b, c = QUINTIC
    tall = M.shape[0] > M.shape[1]
    M = M.T if tall else M
    M = M / jnp.maximum(jnp.linalg.norm(M), RULES["muon"]["eps"])
    for _ in range(int(RULES["muon"]["steps"])):
        gram = M @ M.T
        M = a * M + (b * gram + c * (gram @ gram)) @ M
    return M.T if tall else M
