"""The chain as a function of autograd: values and derivatives of every order, in every layout, on any thread."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest

from tests.required import oracle

torch = oracle("torch")
chain = pytest.importorskip("linalign.interop.torch").chain
pytestmark = pytest.mark.oracle


def draw(widths, shape, dtype=torch.float64, seed=0):
    make = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, widths[0], dtype=dtype, generator=make, requires_grad=True)
    return x, [torch.randn(b, a, dtype=dtype, generator=make, requires_grad=True) for a, b in pairwise(widths)]


def plain(x, *weights):
    for W in weights:
        x = x @ W.T
    return x


# by rows, from either end, from between; one weight; batches of several axes, or none
CASES = [
    ((5, 6, 4, 3), (7,)),
    ((2, 6, 7, 5), (40,)),
    ((5, 6, 7, 2), (40,)),
    ((6, 9, 2, 9, 6), (30,)),
    ((4, 3), (6,)),
    ((1, 1, 1), (1,)),
    ((3, 4, 2), (2, 3)),
    ((3, 4, 2), (2, 1, 3)),
    ((3, 4, 2), ()),
]


@pytest.mark.parametrize(("widths", "shape"), CASES, ids=str)
def test_derivatives_of_both_orders(widths, shape):
    x, weights = draw(widths, shape)
    assert torch.autograd.gradcheck(chain, (x, *weights))
    assert torch.autograd.gradgradcheck(chain, (x, *weights))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("widths", "shape"), [*CASES, ((300, 20, 300), (50,)), ((250, 250), (9,)), ((250, 250, 3), (900,))], ids=str)
def test_values_and_gradients_are_those_of_torch(widths, shape, dtype):
    x, weights = draw(widths, shape, dtype)
    D = torch.randn(*shape, widths[-1], dtype=dtype, generator=torch.Generator().manual_seed(1))
    found, want = chain(x, *weights), plain(x, *weights)
    # both sum at most `terms` products in any order, of numbers whose absolute values are bounded by those of the plain chain of them
    terms = sum(widths) + x.numel() // widths[0] + 2 * len(weights)
    sizes = [t.detach().abs().requires_grad_() for t in (x, *weights)]
    size = plain(*sizes)
    bounds = [size, *torch.autograd.grad(size, sizes, D.abs())]
    for a, b, bound in zip(
        [found, *torch.autograd.grad(found, (x, *weights), D)], [want, *torch.autograd.grad(want, (x, *weights), D)], bounds, strict=True
    ):
        assert a.shape == b.shape
        assert a.dtype == dtype
        assert (torch.abs(a - b) <= 4 * terms * torch.finfo(dtype).eps * bound).all()


def test_derivatives_of_the_third_order():
    x, weights = draw((2, 6, 3), (40,))

    def third(function):
        first = torch.autograd.grad(function(x, *weights).pow(3).sum(), weights, create_graph=True)
        second = torch.autograd.grad(sum(g.pow(2).sum() for g in first), weights, create_graph=True)
        return torch.autograd.grad(sum(g.pow(2).sum() for g in second), weights)

    for a, b in zip(third(chain), third(plain), strict=True):
        # some dozens of products of at most 40 terms one into the other, relative to the largest
        assert (a - b).abs().max() < 1e-12 * b.abs().max()


def test_layouts():
    x, weights = draw((5, 6, 4), (9,))
    want = torch.autograd.grad(chain(x, *weights).sum(), weights)
    turned = [W.detach().T.contiguous().requires_grad_() for W in weights]
    rows = x.detach().T.contiguous().T
    # the gradient of a sum is one number, spread over the outputs
    found = torch.autograd.grad(chain(rows, *[W.T for W in turned]).sum(), turned)
    assert all(torch.equal(a.T, b) for a, b in zip(found, want, strict=True))
    y = torch.randn(9, 5, dtype=torch.float64).T.contiguous().T.requires_grad_()
    assert torch.autograd.gradgradcheck(lambda *given: chain(given[0], *[W.T for W in given[1:]]), (y, *turned))


def test_only_what_is_needed():
    x, weights = draw((5, 6, 4), (9,))
    want = torch.autograd.grad(chain(x, *weights).sum(), (x, *weights))
    for k in range(3):
        given = [t.detach().requires_grad_(i == k) for i, t in enumerate((x, *weights))]
        assert torch.equal(torch.autograd.grad(chain(*given).sum(), given[k])[0], want[k])
    assert not chain(*[t.detach() for t in (x, *weights)]).requires_grad
    with torch.no_grad():
        assert torch.equal(chain(x, *weights), chain(x, *weights))


def test_no_rows():
    x, weights = draw((5, 4), (0,))
    assert chain(x, *weights).shape == (0, 4)
    assert torch.autograd.grad(chain(x, *weights).sum(), weights)[0].abs().sum() == 0


def test_a_weight_changed_in_between_is_told():
    x, weights = draw((5, 6, 4), (9,))
    out = chain(x, *weights).sum()
    with torch.no_grad():
        weights[0].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.backward()


def test_twice_through_one_graph_and_on_another_thread():
    x, weights = draw((10, 45, 45, 10), (128,))
    out = chain(x, *weights).sum()
    want = torch.autograd.grad(out, weights, retain_graph=True)
    assert all(torch.equal(a, b) for a, b in zip(torch.autograd.grad(out, weights, retain_graph=True), want, strict=True))
    found = []
    threads = [threading.Thread(target=lambda: found.append(torch.autograd.grad(out, weights, retain_graph=True))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(torch.equal(a, b) for gradients in found for a, b in zip(gradients, want, strict=True))


def test_in_a_module_that_an_optimiser_trains():
    x, weights = draw((10, 45, 45, 10), (128,))
    Y = torch.randn(128, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def train(function):
        own = [torch.nn.Parameter(W.detach() / 7) for W in weights]
        optimiser = torch.optim.Adam(own, lr=1e-3)
        for _ in range(50):
            optimiser.zero_grad()
            torch.nn.functional.mse_loss(function(x.detach(), *own), Y).backward()
            optimiser.step()
        return own

    for a, b in zip(train(chain), train(plain), strict=True):
        # Adam divides by the size of gradients: 50 steps of 1e-3, each relative to some 1e-10 of rounding at the least gradients
        assert (a - b).abs().max() < 1e-9


BAD = [
    (lambda x, w: chain(x), ValueError, r"^weights is empty; at least one matrix \(k_1, k_0\) was wanted$"),
    (lambda x, w: chain(x.numpy(), w), TypeError, r"^x is ndarray; a tensor was wanted: use linalign\.kernels\.forward for arrays$"),
    (lambda x, w: chain(x, w.to("meta")), TypeError, r"^weights\[0\] is a tensor on meta; linalign computes on the CPU: pass weights\[0\]\.cpu\(\)$"),
    (lambda x, w: chain(x, w.float()), TypeError, r"^weights\[0\] is torch\.float32 but x is torch\.float64; use one dtype for all$"),
    (lambda x, w: chain(x.bfloat16(), w.bfloat16()), TypeError, r"^x is a tensor of torch\.bfloat16, torch\.strided; a dense one of"),
    (lambda x, w: chain(x, w.to_sparse()), TypeError, r"^weights\[0\] is a tensor of torch\.float64, torch\.sparse_coo; a dense one"),
    (lambda x, w: chain(x, w, w), ValueError, r"^weights\[1\] has shape \(4, 5\); a matrix with 4 columns was wanted, as outputs come before it$"),
    (lambda x, w: chain(x[0, 0], w), ValueError, r"^x is a scalar; a tensor \(\.\.\., k_0\) was wanted$"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=[str(k) for k in range(len(BAD))])
def test_bad_input_is_named(call, error, message):
    x, weights = draw((5, 4), (9,))
    with pytest.raises(error, match=message):
        call(x.detach(), weights[0].detach())
