# The update rule, and the one place where it is chosen: descent with momentum and decay, or the gradients alone.
#
#     v <- momentum v + G + decay theta          theta <- theta - lr v
#
# For a dense layer most of it is the alpha and beta of the product that computes the gradient, so that neither is written down:
# `target` says where that product goes, `settle` does what is left. Other layers have the coordinates of their gradient in `Structure`,
# which `use_coordinates` takes. A rule that is no such product (one that must see all gradients first) asks for `gradients_only`, and
# passes over `theta` and `gradient` of each layer afterwards: optimiser.pxd.

from types cimport real, DENSE
from layer cimport Layer, Structure
from products cimport has_vectors
from structured cimport refresh
from engine cimport Engine

cdef struct Target:
    # place <- beta * place + alpha * gradient
    void* place
    double alpha
    double beta


cdef inline Target target(Engine* e, Layer* L) noexcept nogil:
    """Where the product that is the gradient of a dense layer goes."""
    if e.gradients_only:
        return Target(place=L.gradient, alpha=1, beta=0)
    if L.velocity != NULL:
        return Target(place=L.velocity, alpha=1, beta=e.momentum)
    return Target(place=L.matrix, alpha=-L.lr, beta=1 - L.lr * L.decay)


cdef inline bint one_pass(Engine* e, Layer* L, int s) noexcept nogil:
    """With one row in flight a plain update shares its pass over W with the product by the old W: alpha and beta of `target`."""
    return s == 1 and L.kind == DENSE and L.velocity == NULL and not e.gradients_only and has_vectors(&e.machine)


cdef inline void settle(real* precision, Engine* e, Layer* L, int first, int lines) noexcept nogil:
    """What is left of the rule for lines of a dense layer, after that product."""
    cdef Py_ssize_t offset = <Py_ssize_t>first * L.ld, i
    cdef real* v
    cdef real* w
    cdef real lr, decay
    if L.velocity != NULL and not e.gradients_only:
        v = <real*>L.velocity + offset
        w = <real*>L.matrix + offset
        lr = <real>L.lr
        decay = <real>L.decay
        for i in range(<Py_ssize_t>lines * L.ld):
            v[i] = v[i] + decay * w[i]
            w[i] = w[i] - lr * v[i]


cdef inline void use_coordinates(real* precision, Engine* e, Layer* L) noexcept nogil:
    """The rule for the coordinates of the gradient of a layer that is not dense, in the metric of its `inverse_gram`."""
    cdef Structure* S = L.structure
    cdef real* g = <real*>S.coordinates
    cdef real* theta = <real*>L.theta
    cdef real* v = <real*>L.velocity
    cdef real lr = <real>L.lr, decay = <real>L.decay, momentum = <real>e.momentum
    cdef Py_ssize_t k
    if e.gradients_only:
        for k in range(S.size):
            (<real*>L.gradient)[k] = g[k]
        return
    if S.inverse_gram != NULL:
        for k in range(S.size):
            g[k] = g[k] * <real>S.inverse_gram[k]
    if v != NULL:
        for k in range(S.size):
            v[k] = momentum * v[k] + g[k] + decay * theta[k]
            theta[k] = theta[k] - lr * v[k]
    else:
        for k in range(S.size):
            theta[k] = theta[k] - lr * (g[k] + decay * theta[k])
    refresh(precision, L)
