"""Tests of the tests: one-line faults, each of which a named check must see.

A mutant is a fault put into the reference, into the compiled chain's padding, or into the compression; the check is one that the
real tests call (`checks.py`, `test_samples.py`). Every check also passes without the fault, so that it fails for the fault alone.
"""

from __future__ import annotations

import numpy as np
import pytest

from linalign import reference
from linalign.layers import BlockDiagonal, Conv2d, Dense, Masked, Residual, Skew, Subspace, Tied, Toeplitz
from linalign.layers.homogeneous import Homogeneous
from linalign.plan import machine, structures
from linalign.reduce import samples
from tests.oracles.checks import (
    RUNNING,
    ReferenceEngine,
    check_gradients,
    check_integer_gradients,
    check_integer_steps,
    check_steps,
    descent,
    integer_case,
    kernel_engine,
    make_case,
)
from tests.oracles.structured_cases import descent_of, structured_case, structured_engine
from tests.reduce.test_samples import check_compression, check_loss_of_a_close_fit

SQUARE = (4, 4, 4, 4)


def gradients_of(loss, widths=SQUARE, n=6, dtype=np.float64):
    return lambda: check_gradients(ReferenceEngine, make_case(widths, n, loss, dtype))


class PivotReference(ReferenceEngine):
    """The reference's gradients from the pivot 2."""

    def differentiate(self):
        loss, self.gradients = reference.pivot_gradients(self.layers, self.params, self.problem.X, self.objective, 2)
        return RUNNING, loss


def pivot_gradients_of(loss):
    return lambda: check_gradients(PivotReference, make_case(SQUARE, 6, loss))


def steps_of(update="simultaneous", loss="squared", **how):
    case = make_case(SQUARE, 6, loss)
    return lambda: check_steps(ReferenceEngine, case, descent(3, update=update, **how), steps=2)


# ---- the reference, one line at a time -------------------------------------------------------------------------------------


def transposed_gradient(patch):
    patch.setattr(Dense, "grad", lambda self, D, A: A.T @ D)


def adjoint_by_the_transpose(patch):
    patch.setattr(Dense, "adjoint", lambda self, theta, D: D @ theta.T)


def last_sample_left_out(patch):
    # what an edge of a tile that is off by one does
    patch.setattr(Dense, "grad", lambda self, D, A: D[:-1].T @ A[:-1])


def single_precision_inside(patch):
    patch.setattr(Dense, "grad", lambda self, D, A: (D.T.astype(np.float32) @ A.astype(np.float32)).astype(D.dtype))


def half_precision_inside(patch):
    patch.setattr(Dense, "apply", lambda self, theta, A: (A @ theta.T.astype(np.float16)).astype(A.dtype))


def factor_for_its_double(patch):
    true = reference.squared
    patch.setattr(reference, "squared", lambda F, T, factor: (true(F, T, factor)[0], factor * (F - T)))


def value_without_its_factor(patch):
    true = reference.squared
    patch.setattr(reference, "squared", lambda F, T, factor: (true(F, T, 1.0)[0], true(F, T, factor)[1]))


def softmax_over_samples(patch):
    true = reference.cross_entropy
    patch.setattr(reference, "cross_entropy", lambda F, T, factor: (lambda v, G: (v, G.T))(*true(F.T, T.T, factor)))


def logistic_of_the_other_sign(patch):
    true = reference.logistic
    patch.setattr(reference, "logistic", lambda F, T, factor: true(F, -T, factor))


def entries_with_rows_for_columns(patch):
    true = reference.entries
    patch.setattr(reference, "entries", lambda P, rows, columns, values, factor: true(P, columns, rows, values, factor))


def momentum_left_out(patch):
    true = reference.update
    patch.setattr(reference, "update", lambda theta, v, g, lr, momentum, decay: true(theta, v, g, lr, 0.0, decay))


def momentum_with_dampening(patch):
    true = reference.update
    patch.setattr(reference, "update", lambda theta, v, g, lr, momentum, decay: true(theta, v, (1 - momentum) * g, lr, momentum, decay))


def momentum_of_nesterov(patch):
    def update(theta, v, g, lr, momentum, decay):
        g = g + decay * theta
        v = momentum * v + g
        return theta - lr * (g + momentum * v), v

    patch.setattr(reference, "update", update)


def decay_left_out(patch):
    true = reference.update
    patch.setattr(reference, "update", lambda theta, v, g, lr, momentum, decay: true(theta, v, g, lr, momentum, 0.0))


def decay_beside_the_momentum(patch):
    def update(theta, v, g, lr, momentum, decay):
        v = momentum * v + g
        return theta - lr * v - lr * decay * theta, v

    patch.setattr(reference, "update", update)


def _other_step(change):
    """The step with its arguments changed."""
    true = reference.step

    def step(layers, params, velocities, X, objective, lr, momentum, decay, order, metric):
        return change(true, layers, params, velocities, X, objective, lr, momentum, decay, order, metric)

    return lambda patch: patch.setattr(reference, "step", step)


rates_of_the_mirrored_layer = _other_step(
    lambda true, l, p, v, X, o, lr, m, w, order, metric: true(l, p, v, X, o, lr[::-1], m, w, order, metric)
)
cyclic_is_simultaneous = _other_step(
    lambda true, l, p, v, X, o, lr, m, w, order, metric: true(l, p, v, X, o, lr, m, w, "simultaneous", metric)
)
simultaneous_is_cyclic = _other_step(lambda true, l, p, v, X, o, lr, m, w, order, metric: true(l, p, v, X, o, lr, m, w, "cyclic", metric))


def loss_after_the_step(patch):
    true = reference.step

    def step(layers, params, velocities, X, objective, *how):
        _, new, moved = true(layers, params, velocities, X, objective, *how)
        return reference.gradients(layers, new, X, objective)[0], new, moved

    patch.setattr(reference, "step", step)


def cyclic_from_the_last_layer(patch):
    def step(layers, params, velocities, X, objective, lr, momentum, decay, order, metric):
        value = reference.gradients(layers, params, X, objective)[0]
        new, moved = list(params), list(velocities)
        for i in reversed(range(len(layers))):
            g = reference.gradients(layers, new, X, objective)[1][i]
            new[i], moved[i] = reference.update(params[i], velocities[i], g, lr[i], momentum, decay[i])
        return value, new, moved

    patch.setattr(reference, "step", step)


def pivot_with_the_residual_of_other_samples(patch):
    true = reference.pivot_gradients

    def mutant(layers, params, X, objective, pivot):
        return true(layers, params, X, lambda F: (objective(F)[0], objective(F[::-1])[1]), pivot)

    patch.setattr(reference, "pivot_gradients", mutant)


MUTANTS = {
    "transposed gradient": (transposed_gradient, gradients_of("squared")),
    "adjoint by the transpose": (adjoint_by_the_transpose, gradients_of("squared")),
    "last sample left out": (last_sample_left_out, gradients_of("squared")),
    "single precision inside": (single_precision_inside, gradients_of("squared")),
    "half precision inside": (half_precision_inside, gradients_of("squared", dtype=np.float32)),
    "factor for its double": (factor_for_its_double, gradients_of("mse")),
    "value without its factor": (value_without_its_factor, gradients_of("mse")),
    "softmax over samples": (softmax_over_samples, gradients_of("cross_entropy-probabilities")),
    "logistic of the other sign": (logistic_of_the_other_sign, gradients_of("logistic")),
    "entries with rows for columns": (entries_with_rows_for_columns, gradients_of("entries")),
    "pivot with the residual of other samples": (pivot_with_the_residual_of_other_samples, pivot_gradients_of("squared")),
    "momentum left out": (momentum_left_out, steps_of(momentum=0.9)),
    "momentum with dampening": (momentum_with_dampening, steps_of(momentum=0.9)),
    "momentum of Nesterov": (momentum_of_nesterov, steps_of(momentum=0.9)),
    "decay left out": (decay_left_out, steps_of(weight_decay=0.1)),
    "decay beside the momentum": (decay_beside_the_momentum, steps_of(momentum=0.9, weight_decay=0.1)),
    "rates of the mirrored layer": (rates_of_the_mirrored_layer, steps_of(lr=[0.01, 0.02, 0.03])),
    "cyclic is simultaneous": (cyclic_is_simultaneous, steps_of("cyclic")),
    "simultaneous is cyclic": (simultaneous_is_cyclic, steps_of()),
    "cyclic from the last layer": (cyclic_from_the_last_layer, steps_of("cyclic")),
    "loss after the step": (loss_after_the_step, steps_of()),
}


def assert_killed(check, mutant):
    """The check passes, and with the fault it fails."""
    check()
    with pytest.MonkeyPatch.context() as patch:
        mutant(patch)
        with pytest.raises(AssertionError):
            check()
    check()


@pytest.mark.parametrize(("mutant", "check"), MUTANTS.values(), ids=MUTANTS)
def test_a_fault_of_the_reference_is_seen(mutant, check):
    assert_killed(check, mutant)


@pytest.mark.parametrize("mutant", [transposed_gradient, factor_for_its_double, momentum_left_out, decay_left_out, cyclic_is_simultaneous])
def test_equality_to_the_bit_sees_faults_too(mutant):
    # the square last layers make a transposition one of values, not of shapes
    case = integer_case((2, 2, 2), 2, "squared-full", np.float64)

    def check():
        check_integer_gradients(ReferenceEngine, case)
        check_integer_steps(ReferenceEngine, case, descent(2, lr=2.0**-4, momentum=0.5, weight_decay=0.25), 2)
        check_integer_steps(ReferenceEngine, case, descent(2, lr=2.0**-4, update="cyclic"), 1)

    assert_killed(check, mutant)


# ---- the compiled chain ----------------------------------------------------------------------------------------------------


def chain_with(change, pivot):
    """A maker of chains that are changed after they were bound; with the tile, where there is one."""
    make = kernel_engine(machine.available(), pivot)

    def changed(problem, how):
        chain = make(problem, how)
        change(chain)
        return chain

    return changed


def padding_of_a_layer(chain):
    """What stands right of a layer's columns takes part in products: the tile reads whole vectors."""
    W = chain.params[0]
    whole = np.lib.stride_tricks.as_strided(W, (len(W), W.strides[0] // W.itemsize))
    assert whole.shape[1] > W.shape[1]
    whole[:, W.shape[1] :] = 1.0


def one_weight_by_an_ulp(chain):
    W = chain.params[1]
    at = tuple(np.argwhere(W)[0])
    W[at] += np.spacing(W[at])


@pytest.mark.skipif(machine.available() == "base", reason="no register tile on this processor: nothing reads the padding")
def test_garbage_in_the_padding_of_a_layer_is_seen():
    case = make_case((5, 6, 3, 7), 4, "factorisation")
    check_gradients(chain_with(lambda chain: None, 2), case)
    with pytest.raises(AssertionError):
        check_gradients(chain_with(padding_of_a_layer, 2), case)


def test_an_edge_that_is_off_by_one_is_seen():
    # sides of whole vectors and one more: the last row, column or sample left out of a product
    case = make_case((9, 17, 9), 17, "squared")
    for axis, index in ((0, -1), (1, -1)):

        def change(chain, axis=axis, index=index):
            np.moveaxis(chain.params[0], axis, 0)[index] = 0

        with pytest.raises(AssertionError):
            check_gradients(chain_with(change, 1), case)


def test_an_ulp_of_one_integer_is_seen():
    case = integer_case((4, 4, 4, 4), 4, "squared", np.float64)
    check_integer_gradients(chain_with(lambda chain: None, 1), case)
    with pytest.raises(AssertionError):
        check_integer_gradients(chain_with(one_weight_by_an_ulp, 1), case)


# ---- constrained layers: what the kernels are told of one ------------------------------------------------------------------


def told(**changes):
    """A structure with some of it, or of its parts, changed; a layer that has none of these stays as it is."""
    true = structures.parts

    def changed(record):
        has = {name: change for name, change in changes.items() if getattr(record, name, None) is not None}
        return record._replace(**{name: change(getattr(record, name)) for name, change in has.items()})

    def parts(*layer):
        found = true(*layer)
        if found is None:
            return None
        return changed(found if found.parts is None else found._replace(parts=changed(found.parts)))

    return lambda patch: patch.setattr(structures, "parts", parts)


def runs_the_other_way(patch):
    # from their last parameter: nothing outside the parameters is touched
    true = structures.runs

    def runs(index, sign):
        found = true(index, sign)
        return found._replace(parameter=found.parameter + found.step * (found.length - 1), step=-found.step)

    patch.setattr(structures, "runs", runs)


def one_more(number):
    return number + 1


def first_two_exchanged(array):
    array = np.array(array)
    array[[0, 1]] = array[[1, 0]]
    return array


def gradients_of_layers(*layers, pivot=0, n=9):
    case = structured_case(layers, n)
    return lambda: check_gradients(structured_engine("base", pivot), case)


def steps_of_layers(*layers, metric="matrix", **how):
    case = structured_case(layers, 9, metric=metric)
    return lambda: check_steps(structured_engine("base"), case, descent_of(case, **how), steps=2)


CONV = Conv2d((5, 4), (3, 2), 2, 2)
CIRCULAR = Conv2d((5, 4), (3, 2), 2, 2, "circular")
SHARED = Tied(np.where(np.eye(6, dtype=bool), np.arange(6) // 2, -1))
BIASED = Homogeneous(Conv2d((5, 4), (3, 2), 2, 2, bias=True), False)
SKEWED = Subspace(np.random.default_rng(0).standard_normal((3, 4, 4)) + 1)
TOLD = {
    "rows of padding above": (told(top=one_more), gradients_of_layers(CONV)),
    "columns of padding to the left": (told(left=one_more), gradients_of_layers(CONV)),
    "rows of padding above, circular": (told(top=one_more), gradients_of_layers(CIRCULAR)),
    "circular for zeros": (told(circular=one_more), gradients_of_layers(CONV)),
    "a stride for another": (told(parts=lambda g: g._replace(stride_h=g.stride_w, stride_w=g.stride_h)), gradients_of_layers(Conv2d((5, 5), 2, 1, 1, "valid", (1, 3)))),
    "multiplicity left out": (told(inverse_gram=lambda scale: None), steps_of_layers(CONV)),
    "multiplicity in the other metric": (told(inverse_gram=np.sqrt), steps_of_layers(Toeplitz(4, 3))),
    "basis for its dual": (told(dual=lambda dual: 2 * dual), steps_of_layers(SKEWED)),
    "a run in the other direction": (runs_the_other_way, gradients_of_layers(Toeplitz(4, 3))),
    "a run that is one short": (told(length=lambda length: np.maximum(length - 1, 1)), gradients_of_layers(Toeplitz(4, 3))),
    "signs left out": (told(sign=np.abs), gradients_of_layers(Skew(4))),
    "rows for columns in the adjoint": (told(col_at=first_two_exchanged), gradients_of_layers(Dense(5, 6), Masked(np.tri(6, dtype=bool)))),
    "a column for another": (told(row_col=first_two_exchanged), gradients_of_layers(Masked(np.tri(6, k=1, dtype=bool)))),
    "sums over another parameter": (told(parameter=lambda parameter: np.roll(parameter, 1)), gradients_of_layers(SHARED)),
    "a skip connection left out": (told(border=lambda b: b._replace(skip=0)), gradients_of_layers(Residual(Conv2d((5, 4), 3)))),
    "biases of half the places": (told(border=lambda b: b._replace(places=b.places // 2)), gradients_of_layers(BIASED, Dense(41, 2))),
    "one bias for all channels": (told(border=lambda b: b._replace(biases=1)), gradients_of_layers(BIASED, Dense(41, 2))),
    "a constant that stays behind": (told(border=lambda b: b._replace(carried=0)), gradients_of_layers(BIASED, Dense(41, 2))),
    "blocks in another order": (told(sides=lambda sides: np.roll(sides, 2)), gradients_of_layers(BlockDiagonal([(2, 3), (3, 2)]))),
}  # fmt: skip


@pytest.mark.parametrize(("mutant", "check"), TOLD.values(), ids=TOLD)
def test_a_fault_in_what_the_kernels_are_told_is_seen(mutant, check):
    assert_killed(check, mutant)


def test_stale_matrices_of_tied_layers_are_seen():
    # parameters that were written from outside, without a refresh
    case = structured_case([Toeplitz(4, 3), Dense(3, 2)], 9)

    def stale(chain):
        chain.params[0][...] = 0
        chain.refresh()
        chain.params[0][...] = case.problem.net.params[0]

    def engine(change):
        def make(problem, how):
            chain = structured_engine("base")(problem, how)
            change(chain)
            return chain

        return make

    check_gradients(engine(lambda chain: chain.refresh()), case)
    with pytest.raises(AssertionError):
        check_gradients(engine(stale), case)


# ---- compression -----------------------------------------------------------------------------------------------------------


def by_the_gram_matrix(X, Y):
    C = np.linalg.cholesky(X.T @ X).T
    T = np.linalg.solve(C.T, X.T @ Y)
    return C, T, max(float(np.sum(Y**2) - np.sum(T**2)), 0.0)


def constant_left_out(X, Y):
    return (*samples.compress(X, Y)[:2], 0.0)


def first_block_only(X, Y):
    return samples.compress(X[: len(X) // 2], Y[: len(X) // 2])


def rank_by_a_loose_tolerance(X, Y):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "RANK_TOLERANCE", 1e-3)
        return samples.compress(X, Y)


@pytest.mark.parametrize("mutant", [constant_left_out, first_block_only, rank_by_a_loose_tolerance])
def test_a_fault_of_the_compression_is_seen(mutant):
    rng = np.random.default_rng(2)
    X, Y = rng.standard_normal((40, 5)) * np.logspace(0, -5, 5), rng.standard_normal((40, 3))
    check_compression(samples.compress, X, Y)
    with pytest.raises(AssertionError):
        check_compression(mutant, X, Y)


@pytest.mark.parametrize("mutant", [by_the_gram_matrix, constant_left_out])
def test_a_small_loss_that_is_lost_is_seen(mutant):
    check_loss_of_a_close_fit(samples.compress)
    with pytest.raises(AssertionError):
        check_loss_of_a_close_fit(mutant)
