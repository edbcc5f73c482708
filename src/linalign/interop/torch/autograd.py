"""The product of a chain of weights as one function of autograd."""

from __future__ import annotations

from collections.abc import Sequence
from threading import get_ident
from typing import Any, cast

import torch

from ...engine.threads import limit
from ...kernels.stacks import BY_ROWS, stack_of

DTYPES = (torch.float32, torch.float64)


def chain(x: Any, *weights: Any) -> Any:
    """`x W_1^T ... W_d^T`: what a Sequential of Linear layers without biases computes, as one node of autograd's graph.

    Parameters
    ----------
    x : tensor (..., k_0)
    *weights : tensors (k_i, k_{i-1}), W_1 first
        All on the CPU, float64 or float32.

    Returns a tensor (..., k_d). Forward and backward are `linalign.kernels.forward` and `backward`, on `torch.get_num_threads()`
    threads, by way of the product of the weights where that is less work; derivatives of every order exist.
    Raises: TypeError, ValueError for tensors that do not fit. Source: docs/theory, section 10.
    """
    try:
        rows = x if x.dim() == 2 else x.reshape(-1, x.shape[-1])
        stack = stack_of(weights, rows, torch.get_num_threads())
        dtype, given = x.dtype, []
        for tensor in (rows, *weights):
            if tensor.dtype is not dtype or not tensor.is_cpu or tensor.layout is not torch.strided:
                raise TypeError("tensors differ in dtype or place")
            given.append(tensor if tensor.is_contiguous() else tensor.contiguous())
    except (TypeError, ValueError, AttributeError, IndexError):
        _check(x, weights)
        return _one_by_one(x, weights)
    if stack.by_blas and stack.pivot == BY_ROWS:
        # nothing is to be gained, and torch brings a BLAS of its own
        return _one_by_one(x, weights)
    found = cast(Any, _Chain.apply)(stack, *given)
    return found if rows is x else found.reshape(*x.shape[:-1], found.shape[1])


def _one_by_one(x: Any, weights: Sequence[Any]) -> Any:
    for W in weights:
        x = torch.nn.functional.linear(x, W)
    return x


def _check(x: Any, weights: Sequence[Any]) -> None:
    """Raises: TypeError, ValueError naming what does not fit."""
    if not weights:
        raise ValueError("weights is empty; at least one matrix (k_1, k_0) was wanted")
    for name, tensor in (("x", x), *((f"weights[{i}]", W) for i, W in enumerate(weights))):
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name} is {type(tensor).__name__}; a tensor was wanted: use linalign.kernels.forward for arrays")
        if tensor.device.type != "cpu":
            raise TypeError(f"{name} is a tensor on {tensor.device}; linalign computes on the CPU: pass {name}.cpu()")
        if tensor.dtype not in DTYPES or tensor.layout != torch.strided:
            raise TypeError(f"{name} is a tensor of {tensor.dtype}, {tensor.layout}; a dense one of torch.float64 or float32 was wanted")
        if tensor.dtype != x.dtype:
            raise TypeError(f"{name} is {tensor.dtype} but x is {x.dtype}; use one dtype for all")
    if not x.dim():
        raise ValueError("x is a scalar; a tensor (..., k_0) was wanted")
    inputs = x.shape[-1]
    for i, W in enumerate(weights):
        if W.dim() != 2 or not W.numel() or W.shape[1] != inputs:
            raise ValueError(
                f"weights[{i}] has shape {tuple(W.shape)}; a matrix with {inputs} columns was wanted, as outputs come before it"
            )
        inputs = W.shape[0]


def _run(stack: Any, call: Any, *arguments: Any) -> None:
    """A product by the compiled stack, BLAS held to one thread where it takes part."""
    if stack.by_blas:
        with limit(1):
            call(*arguments)
    else:
        call(*arguments)


class _Chain(torch.autograd.Function):
    """F of x and W, which are contiguous."""

    @staticmethod
    def forward(ctx: Any, stack: Any, x: Any, *weights: Any) -> Any:
        out = x.new_empty((x.shape[0], weights[-1].shape[0]))
        places = [W.data_ptr() for W in weights]
        tape = x.new_empty(stack.tape)
        _run(stack, stack.forward, places, x.data_ptr(), out.data_ptr(), tape.data_ptr())
        ctx.save_for_backward(x, *weights)
        # a stack computes in room of its own, and a graph may go back in another thread
        ctx.there = stack, get_ident(), places, tape
        return out

    @staticmethod
    def backward(ctx: Any, *directions: Any) -> Any:
        given, needed = ctx.saved_tensors, ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():
            # somebody differentiates again
            return None, *cast(Any, _Gradients.apply)(ctx.there, needed, *directions, *given)
        return None, *_gradients(ctx.there, needed, directions[0], given)


def _gradients(there: Any, needed: Sequence[bool], D: Any, given: Sequence[Any]) -> tuple[Any, ...]:
    """The gradients of `<D, F>` in x and every weight; None where it is not needed."""
    x, weights = given[0], given[1:]
    stack, thread, places, tape = there
    if thread != get_ident():
        stack = stack_of(weights, x, torch.get_num_threads())
    D = D if D.is_contiguous() else D.contiguous()
    found = [torch.empty_like(tensor) if need else None for tensor, need in zip(given, needed, strict=True)]
    inputs, *to = [None if tensor is None else tensor.data_ptr() for tensor in found]
    _run(stack, stack.backward, places, x.data_ptr(), D.data_ptr(), to, inputs, None if tape is None else tape.data_ptr())
    return tuple(found)


class _Gradients(torch.autograd.Function):
    """The gradients of `<D, F>` as a function of D, x and W; its own gradients are those of a chain of twice the width.

    With `g` the gradients in the gradients, what is differentiated is `<D, dF[g]>`, the derivative of F in the direction g. It is
    the outputs of `[x, g_x]` through `[[W_i, 0], [g_i, W_i]]`, of which the second half is taken. Source: docs/theory, section 10.
    """

    @staticmethod
    def forward(ctx: Any, there: Any, needed: Sequence[bool], D: Any, *given: Any) -> Any:
        ctx.save_for_backward(D, *given)
        return _gradients(there, needed, D, given)

    @staticmethod
    def backward(ctx: Any, *directions: Any) -> Any:
        D, x, *weights = ctx.saved_tensors
        g_x, *g = (torch.zeros_like(tensor) if g is None else g for g, tensor in zip(directions, (x, *weights), strict=True))
        wide = torch.cat([x, g_x], dim=1)
        doubled = [torch.cat([torch.cat([W, torch.zeros_like(W)], 1), torch.cat([g_W, W], 1)]) for W, g_W in zip(weights, g, strict=True)]
        stack = stack_of(doubled, wide, torch.get_num_threads())
        in_D = cast(Any, _Chain.apply)(stack, wide, *doubled)[:, D.shape[1] :]
        there = stack, get_ident(), [W.data_ptr() for W in doubled], None
        needed, last = (True,) * (1 + len(weights)), torch.cat([torch.zeros_like(D), D], dim=1)
        in_x, *blocks = cast(Any, _Gradients.apply)(there, needed, last, wide, *doubled)
        in_weights = [B[: len(W), : W.shape[1]] + B[len(W) :, W.shape[1] :] for B, W in zip(blocks, weights, strict=True)]
        return None, None, in_D, in_x[:, : x.shape[1]], *in_weights
