"""Shared by the checks: the dynamics of one mode and the quantities of T4.2."""

import numpy as np
from scipy.optimize import brentq


def Gam(y):  # sum_i prod_{l != i} y_l, no division
    y = np.asarray(y, float)
    pre = np.concatenate([[1.0], np.cumprod(y[:-1])])
    suf = np.concatenate([np.cumprod(y[::-1][:-1])[::-1], [1.0]])
    return float(np.sum(pre * suf))


def tau_star(y, q):  # root of prod(y_i+tau)=q^2, tau > -min y
    y = np.asarray(y, float)
    m = y.min()
    z = y - m
    d = len(y)
    # unknown s = tau + m >= 0 : prod(z_i + s) = q^2, s in (0, |q|^{2/d}]
    f = lambda s: np.sum(np.log(z + s)) - 2 * np.log(abs(q))
    hi = abs(q) ** (2.0 / d)
    lo = hi
    if f(hi) <= 0:
        return hi - m
    while f(lo) > 0:
        lo *= 0.5
    return brentq(f, lo, hi, xtol=1e-300, rtol=1e-15) - m


def gstar(y, q):
    return Gam(np.asarray(y) + tau_star(y, q))


def step(s, lam, q, eta):
    pre = np.concatenate([[1.0], np.cumprod(s[:-1])])
    suf = np.concatenate([np.cumprod(s[::-1][:-1])[::-1], [1.0]])
    oth = pre * suf
    p = s[0] * oth[0]
    return s + eta * lam * (q - p) * oth
