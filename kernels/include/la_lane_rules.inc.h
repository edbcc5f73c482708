/* Update rules that are no part of a product, entry by entry over matrices of vectors; formulas: src/linalign/optim.
 *
 * `first` and `second` are a number a lane that the step has. The includer defines T, V, LANES and FN(x), and AT(p) of la_lane_tile.inc.h.
 */

#include "la_root.inc.h"

/* SGD with dampening or Nesterov's momentum; `first` is what a gradient weighs: 1 in the first step. */
static __attribute__((noinline)) void FN(lane_momentum)(const la_lanes *c, long count, const T *G, T *W, T *v, const FN(law) *law,
                                                        const T *first)
{
    const int nesterov = c->numbers[1] != 0;
    for (long e = 0; e < count * LANES; e += LANES) {
        const V g = AT(G + e) + law->decay * AT(W + e), moved = law->momentum * AT(v + e) + AT(first) * g;
        AT(v + e) = moved;
        AT(W + e) += law->rate * (nesterov ? g + law->momentum * moved : moved);
    }
}

/* Adam: first = 1 / (1 - beta_1^t), second = 1 / sqrt(1 - beta_2^t). */
static __attribute__((noinline)) void FN(lane_adam)(const la_lanes *c, long count, const T *G, T *W, T *m, T *v, const FN(law) *law,
                                                    const T *first, const T *second)
{
    const T fresh = (T)(1 - c->numbers[0]), old = (T)c->numbers[1], square = (T)(1 - c->numbers[1]), eps = (T)c->numbers[2];
    const int coupled = c->numbers[3] != 0;
    const V near = AT(first) * law->rate, root = AT(second);
    for (long e = 0; e < count * LANES; e += LANES) {
        V g = AT(G + e), w = AT(W + e);
        if (coupled)
            g += law->decay * w;
        else
            w = law->keep * w;
        const V mean = AT(m + e) + fresh * (g - AT(m + e)), squares = old * AT(v + e) + square * g * g;
        AT(m + e) = mean;
        AT(v + e) = squares;
        AT(W + e) = w + near * FN(over_root)(mean, squares, root, eps);
    }
}

/* RMSprop; m NULL if not centred, b NULL without momentum. */
static __attribute__((noinline)) void FN(lane_rmsprop)(const la_lanes *c, long count, const T *G, T *W, T *v, T *m, T *b,
                                                       const FN(law) *law)
{
    const T old = (T)c->numbers[0], fresh = (T)(1 - c->numbers[0]), eps = (T)c->numbers[1], momentum = (T)c->numbers[2];
    const V one = (V){0} + 1;
    for (long e = 0; e < count * LANES; e += LANES) {
        const V g = AT(G + e) + law->decay * AT(W + e);
        V squares = old * AT(v + e) + fresh * g * g;
        AT(v + e) = squares;
        if (m) {
            const V mean = AT(m + e) + fresh * (g - AT(m + e));
            AT(m + e) = mean;
            squares -= mean * mean;
        }
        V by = FN(over_root)(g, squares, one, eps);
        if (b) {
            by += momentum * AT(b + e);
            AT(b + e) = by;
        }
        AT(W + e) += law->rate * by;
    }
}

/* Adagrad; first = 1 / (1 + (t - 1) lr_decay). */
static __attribute__((noinline)) void FN(lane_adagrad)(const la_lanes *c, long count, const T *G, T *W, T *s, const FN(law) *law,
                                                       const T *first)
{
    const T eps = (T)c->numbers[1];
    const V near = AT(first) * law->rate, one = (V){0} + 1;
    for (long e = 0; e < count * LANES; e += LANES) {
        const V g = AT(G + e) + law->decay * AT(W + e), squares = AT(s + e) + g * g;
        AT(s + e) = squares;
        AT(W + e) += near * FN(over_root)(g, squares, one, eps);
    }
}

/* The sign of a gradient, or of a mean of them; m NULL without momentum; a nan stays one. */
static __attribute__((noinline)) void FN(lane_sign)(const la_lanes *c, long count, const T *G, T *W, T *m, const FN(law) *law)
{
    const T fresh = (T)(1 - c->numbers[0]);
    for (long e = 0; e < count * LANES; e += LANES) {
        V g = AT(G + e);
        if (m) {
            g = AT(m + e) + fresh * (g - AT(m + e));
            AT(m + e) = g;
        }
        V by;
        for (int l = 0; l < LANES; l++)
            by[l] = g[l] > 0 ? 1 : g[l] < 0 ? -1 : 0 * g[l];
        AT(W + e) = law->keep * AT(W + e) + law->rate * by;
    }
}
