/* Training of networks side by side, for one element type and instruction set.
 *
 * The step is that of a chain from an end, of vectors of networks in place of numbers:
 *
 *     A_i = A_{i-1} M_i^T          D_{i-1} = D_i M_i          M_i += rate D_i^T A_{i-1}
 *
 * A_1 = M_1^T where the identity enters, and D_1 is then the gradient of the first layer. No sum runs over lanes, so that what a network
 * comes to does not depend on those beside it. The loss is known before the step is taken: who is done there, or is to be kept, is seen
 * to between the two. With biases a layer is [W b; 0 1], whose last row stands still: nobody asks for its gradient. The includer defines T,
 * V, LANES, WIDE and FN(x): see la_each.h.
 */

#include "la_lane_tile.inc.h"
#include "la_lane_loss.inc.h"
#include "la_lane_rules.inc.h"

/* Between a lane of some matrices and the layers of a network, `turned` or not; `into` the lane, or out of it. */
static void FN(lane_move)(const la_lanes *c, void **matrices, int lane, T *params, int into)
{
    const int d = c->depth, *k = c->widths;
    for (int i = 1; i <= d; i++) {
        const int at = c->turned ? d + 1 - i : i;
        const int rows = k[at], columns = k[at - 1];
        const long down = c->turned ? 1 : columns, across = c->turned ? rows : 1;
        T *M = (T *)matrices[at] + lane;
        for (int r = 0; r < rows; r++)
            for (int j = 0; j < columns; j++)
                if (into)
                    M[(long)(r * columns + j) * LANES] = params[r * down + j * across];
                else
                    params[r * down + j * across] = M[(long)(r * columns + j) * LANES];
        params += (long)rows * columns;
    }
}

static void FN(lane_set)(T *slot, long count, int lane, T value)
{
    for (long e = 0; e < count; e++)
        slot[e * LANES + lane] = value;
}

/* Rates of the layers in a lane; `lr` in the order of the network. */
static void FN(lane_rates)(la_lanes *c, int lane, long j, const double *lr)
{
    const int d = c->depth;
    for (int i = 1; i <= d; i++) {
        const long at = c->turned ? d - i : i - 1;
        T *mine = (T *)c->rates + (i - 1) * 4 * LANES + lane;
        mine[0] = (T)-lr[at];
        mine[LANES] = (T)(1 - lr[at] * c->decay[j * d + at]);
    }
}

/* Those of the step to come, in all lanes, `past` steps after `done`. */
static void FN(lane_schedule)(la_lanes *c, long long past)
{
    for (int l = 0; l < LANES; l++)
        if (c->who[l] >= 0)
            FN(lane_rates)(c, l, c->who[l], c->schedule + (c->table[c->who[l]] * c->scheduled + c->done[l] + past) * c->depth);
}

/* The next network into a lane; none if there is none, and zeros that stay zeros. */
static void FN(lane_fill)(la_lanes *c, int lane)
{
    const int d = c->depth;
    const long j = c->next < c->count ? c->next++ : -1;
    T *rates = (T *)c->rates + lane;
    c->who[lane] = j;
    c->done[lane] = 0;
    c->last[lane] = 0;
    c->power_1[lane] = c->power_2[lane] = 1;
    for (int i = 1; i <= d; i++) {
        const long count = (long)c->widths[i] * c->widths[i - 1], at = c->turned ? d - i : i - 1;
        T *mine = rates + (i - 1) * 4 * LANES;
        mine[0] = 0;
        mine[LANES] = 1;
        mine[2 * LANES] = j < 0 ? 0 : (T)c->decay[j * d + at];
        mine[3 * LANES] = j < 0 ? 0 : (T)c->momentum[j];
        for (int slot = 0; slot < c->slots; slot++)
            FN(lane_set)(c->slot[slot][i], count, lane, (T)c->initial);
        if (j < 0)
            FN(lane_set)(c->M[i], count, lane, 0);
    }
    if (j >= 0 && !c->schedule)
        FN(lane_rates)(c, lane, j, c->lr + j * d);
    if (j >= 0)
        FN(lane_move)(c, c->M, lane, (T *)c->params + j * c->size, 1);
    else
        c->alive--;
}

/* Rows (rows, k) of the data of all lanes, zero where a lane has no more of them. */
static inline __attribute__((always_inline)) void FN(lane_take)(const la_lanes *c, int k, const T *data, const int *const *line, int same,
                                                                T *to)
{
    for (int r = 0; r < c->rows; r++, to += (long)k * LANES) {
        if (same) {
            const T *from = line[0] && r < c->seen[0] ? data + (long)line[0][r] * k : NULL;
            for (int j = 0; j < k; j++)
                AT(to + j * LANES) = (V){0} + (from ? from[j] : 0);
            continue;
        }
        for (int l = 0; l < LANES; l++) {
            const T *from = line[l] && r < c->seen[l] ? data + (long)line[l][r] * k : NULL;
            for (int j = 0; j < k; j++)
                to[j * LANES + l] = from ? from[j] : 0;
        }
    }
}

/* The batches of the step to come, `past` steps after `done`; none where no step is left. */
static __attribute__((noinline)) void FN(lane_gather)(la_lanes *c, long long past)
{
    const int *line[LANES];
    int same = 1;
    for (int l = 0; l < LANES; l++) {
        const long j = c->who[l];
        const long long t = c->done[l] + past;
        line[l] = NULL;
        c->seen[l] = c->weight[l] = 0;
        if (j >= 0 && t < c->limit[j]) {
            const long long at = c->drawn[j] * c->lines + t;
            line[l] = c->order + at * c->rows;
            c->seen[l] = c->counts[at];
            c->weight[l] = c->factors[c->counts[at]];
        }
        same &= line[l] == line[0];
    }
    FN(lane_take)(c, c->widths[0], c->X, line, same, c->A[0]);
    FN(lane_take)(c, c->widths[c->depth], c->Y, line, same, c->F);
}

/* Outputs, loss and its gradient in the last rows in flight; value (LANES,). */
static inline __attribute__((always_inline)) void FN(lane_forward)(la_lanes *c, double *value)
{
    const int d = c->depth, s = c->rows, *k = c->widths;
    /* whether the loss is no part of the last product */
    const int apart = c->place == LA_BEHIND || c->place == LA_BATCHES || c->loss != LA_SQUARED || d == 1;
    T **A = (T **)c->A, **M = (T **)c->M;
    double total[LANES] __attribute__((aligned(64)));
    for (int l = 0; l < LANES; l++)
        total[l] = 0;
    /* A_1 is the first layer itself, turned; from the data on, rows of its own */
    ptrdiff_t a_r = LANES, a_p = (ptrdiff_t)k[0] * LANES;
    const T *a = M[1];
    int i = 2;
    if (c->place == LA_FIRST) {
        FN(lane_shared)(s, k[1], k[0], c->X, k[0], 1, M[1], LANES, (ptrdiff_t)k[0] * LANES, A[1], (ptrdiff_t)k[1] * LANES, LANES);
        a = A[1], a_r = (ptrdiff_t)k[1] * LANES, a_p = LANES;
    } else if (c->place == LA_BATCHES)
        a = A[0], a_r = (ptrdiff_t)k[0] * LANES, a_p = LANES, i = 1;
    for (; i < d + apart; i++) {
        FN(lane_product)(s, k[i], k[i - 1], a, a_r, a_p, M[i], LANES, (ptrdiff_t)k[i - 1] * LANES, A[i], (ptrdiff_t)k[i] * LANES, LANES);
        a = A[i], a_r = (ptrdiff_t)k[i] * LANES, a_p = LANES;
    }
    const int inputs = c->turned ? k[d] : k[0], outputs = c->turned ? k[0] : k[d];
    if (!apart) {
        const FN(ends) ends = {c->X, c->Y, k[d], (T)(2 * c->factor), total};
#define RESIDUAL(name)                                                                                                          \
    FN(name)(s, k[d], k[d - 1], a, a_r, a_p, M[d], LANES, (ptrdiff_t)k[d - 1] * LANES, c->D[0], (ptrdiff_t)k[d] * LANES, LANES, &ends)
        if (c->place != LA_DIAGONAL)
            RESIDUAL(lane_residual);
        else if (c->turned)
            RESIDUAL(lane_residual_columns);
        else
            RESIDUAL(lane_residual_rows);
#undef RESIDUAL
    } else {
        T *F = c->place == LA_BEHIND ? c->F : c->D[0];
        if (c->place == LA_BEHIND)
            FN(lane_shared)(c->samples, outputs, inputs, c->X, inputs, 1, a, c->turned ? a_p : a_r, c->turned ? a_r : a_p, F,
                            (ptrdiff_t)outputs * LANES, LANES);
        else /* the rows of data themselves */
            memcpy(F, a, (size_t)s * k[d] * LANES * sizeof(T));
        if (c->place == LA_BATCHES)
            FN(lane_loss)(c, 1, outputs, F, total);
        else
            FN(lane_loss)(c, 0, outputs, F, total);
    }
    for (int l = 0; l < LANES; l++)
        value[l] = (c->place == LA_BATCHES ? c->weight[l] : c->factor) * total[l];
}

/* The numbers of the step to come that a rule has beside the rates, a lane each. */
static inline __attribute__((always_inline)) void FN(lane_clock)(la_lanes *c, T *first, T *second)
{
    for (int l = 0; l < LANES; l++)
        if (c->law == LA_ADAM) {
            c->power_1[l] *= c->numbers[0];
            c->power_2[l] *= c->numbers[1];
            first[l] = (T)(1 / (1 - c->power_1[l]));
            second[l] = (T)(1 / sqrt(1 - c->power_2[l]));
        } else if (c->law == LA_MOMENTUM) {
            first[l] = (T)(c->power_1[l] == 1 ? 1 : 1 - c->numbers[2]);
            c->power_1[l] = 0;
        } else if (c->law == LA_ADAGRAD) {
            first[l] = (T)(1 / c->power_1[l]);
            c->power_1[l] += c->numbers[0];
        }
}

/* Rows of M_i that move. */
static inline __attribute__((always_inline)) int FN(lane_moving)(const la_lanes *c, int i)
{
    return c->widths[i] - (i && i < c->depth ? c->carried : 0);
}

/* A layer from its gradient G, which is no part of a product. */
static inline __attribute__((always_inline)) void FN(lane_use)(const la_lanes *c, int i, const T *G, const FN(law) *law, const T *first,
                                                               const T *second)
{
    const long count = (long)FN(lane_moving)(c, i) * c->widths[i - 1];
    T *W = (T *)c->M[i], *slot[LA_MOST_SLOTS] = {NULL};
    for (int k = 0; k < c->slots; k++)
        slot[k] = (T *)c->slot[k][i];
    switch (c->law) {
    case LA_DESCEND:
        for (long e = 0; e < count * LANES; e += LANES)
            AT(W + e) = law->keep * AT(W + e) + law->rate * AT(G + e);
        break;
    case LA_HEAVY_BALL:
        for (long e = 0; e < count * LANES; e += LANES) {
            T *beside = W + e + law->beside;
            AT(beside) = law->momentum * AT(beside) + (AT(G + e) + law->decay * AT(W + e));
            AT(W + e) += law->rate * AT(beside);
        }
        break;
    case LA_MOMENTUM: FN(lane_momentum)(c, count, G, W, slot[0], law, first); break;
    case LA_ADAM: FN(lane_adam)(c, count, G, W, slot[0], slot[1], law, first, second); break;
    case LA_RMSPROP:
        FN(lane_rmsprop)(c, count, G, W, slot[0], c->numbers[3] != 0 ? slot[1] : NULL, c->numbers[2] != 0 ? slot[c->slots - 1] : NULL, law);
        break;
    case LA_ADAGRAD: FN(lane_adagrad)(c, count, G, W, slot[0], law, first); break;
    case LA_SIGN: FN(lane_sign)(c, count, G, W, slot[0], law); break;
    }
}

/* One step from the gradient in the outputs. */
static inline __attribute__((always_inline)) void FN(lane_backward)(la_lanes *c)
{
    const int d = c->depth, s = c->rows, *k = c->widths;
    T **A = (T **)c->A, **M = (T **)c->M, *D = c->D[0], *below = c->D[1], *G = c->G;
    T first[LANES] __attribute__((aligned(64))), second[LANES] __attribute__((aligned(64)));
    FN(lane_clock)(c, first, second);
    if (c->place == LA_BEHIND) {
        const int inputs = c->turned ? k[d] : k[0], outputs = c->turned ? k[0] : k[d];
        const ptrdiff_t row = (ptrdiff_t)k[d] * LANES;
        FN(lane_shared)(inputs, outputs, c->samples, c->X, 1, inputs, c->F, (ptrdiff_t)outputs * LANES, LANES, D,
                        c->turned ? LANES : row, c->turned ? row : LANES);
    }
    for (int i = d; i >= 1; i--) {
        const ptrdiff_t wide = (ptrdiff_t)k[i - 1] * LANES;
        const int moving = FN(lane_moving)(c, i);
        const T *rates = (T *)c->rates + (i - 1) * 4 * LANES;
        FN(law) law = {AT(rates), AT(rates + LANES), AT(rates + 2 * LANES), AT(rates + 3 * LANES), 0};
        if (c->law == LA_HEAVY_BALL)
            law.beside = (T *)c->slot[0][i] - M[i];
        if (i > 1)
            FN(lane_product)(s, FN(lane_moving)(c, i - 1), moving, D, (ptrdiff_t)k[i] * LANES, LANES, M[i], wide, LANES, below, wide,
                             LANES);
        const int product = i > 1 || c->place == LA_BATCHES, direct = product && c->law <= LA_HEAVY_BALL;
        /* what stands below the layer: the first one itself, turned, where the identity enters */
        const int turned = i == 2 && c->place != LA_FIRST && c->place != LA_BATCHES;
        const T *a = turned ? M[1] : A[i - 1];
        const ptrdiff_t a_r = turned ? LANES : wide, a_j = turned ? (ptrdiff_t)k[0] * LANES : LANES;
        if (!product && c->place != LA_FIRST && c->law <= LA_HEAVY_BALL) /* the gradient is D, turned */
            for (int r = 0; r < moving; r++)
                for (int j = 0; j < k[0]; j++) {
                    T *w = M[1] + (long)(r * k[0] + j) * LANES;
                    const V g = AT(D + (long)(j * k[1] + r) * LANES);
                    if (c->law == LA_DESCEND) {
                        AT(w) = law.keep * AT(w) + law.rate * g;
                        continue;
                    }
                    const V v = law.momentum * AT(w + law.beside) + (g + law.decay * AT(w));
                    AT(w + law.beside) = v;
                    AT(w) += law.rate * v;
                }
        else if (direct && c->law == LA_DESCEND)
            FN(lane_descend)(moving, k[i - 1], s, D, LANES, (ptrdiff_t)k[i] * LANES, a, a_r, a_j, M[i], wide, LANES, &law);
        else if (direct)
            FN(lane_roll)(moving, k[i - 1], s, D, LANES, (ptrdiff_t)k[i] * LANES, a, a_r, a_j, M[i], wide, LANES, &law);
        else {
            if (product)
                FN(lane_product)(moving, k[i - 1], s, D, LANES, (ptrdiff_t)k[i] * LANES, a, a_r, a_j, G, wide, LANES);
            else if (c->place == LA_FIRST) /* X^T D, turned */
                FN(lane_shared)(k[0], moving, s, c->X, 1, k[0], D, (ptrdiff_t)k[1] * LANES, LANES, G, LANES, wide);
            else
                for (int r = 0; r < moving; r++)
                    for (int j = 0; j < k[0]; j++)
                        AT(G + (long)(r * k[0] + j) * LANES) = AT(D + (long)(j * k[1] + r) * LANES);
            FN(lane_use)(c, i, G, &law, first, second);
        }
        T *spare = D;
        D = below;
        below = spare;
    }
}

/* What is due in a lane where the loss is known: an end, or a record. Whether the lane has another network now. */
static int FN(lane_look)(la_lanes *c, int lane, double value)
{
    const long j = c->who[lane];
    const long long t = c->done[lane];
    int status = -1;
    if (!(value - value == 0))
        status = LA_DIVERGED;
    else if (c->order && t >= c->limit[j])
        status = LA_RUNNING; /* there is no batch whose loss it would be */
    else if (value + c->floor <= c->tol[j])
        status = LA_CONVERGED;
    else if (t >= c->limit[j])
        status = LA_RUNNING;
    if (status < 0) {
        const long taken = c->taken[j];
        if (taken < c->records && c->at[taken] == t) {
            FN(lane_move)(c, c->M, lane, (T *)c->kept + (j * c->records + taken) * c->size, 0);
            c->kept_value[j * c->records + taken] = value;
            c->taken[j]++;
        }
        return 0;
    }
    FN(lane_move)(c, c->M, lane, (T *)c->params + j * c->size, 0);
    for (int slot = 0; slot < c->slots; slot++)
        if (c->kept_slots[slot])
            FN(lane_move)(c, c->slot[slot], lane, (T *)c->kept_slots[slot] + j * c->size, 0);
    c->value[j] = value;
    c->before[j] = c->last[lane];
    c->steps[j] = t;
    c->status[j] = status;
    FN(lane_fill)(c, lane);
    return 1;
}

/* Steps until something is due in some lane. */
static long long FN(lane_wait)(const la_lanes *c)
{
    long long least = 1LL << 62;
    for (int l = 0; l < LANES; l++) {
        const long j = c->who[l];
        if (j < 0)
            continue;
        long long next = c->limit[j];
        if (c->taken[j] < c->records && c->at[c->taken[j]] < next)
            next = c->at[c->taken[j]];
        if (next - c->done[l] < least)
            least = next - c->done[l];
    }
    return least;
}

/* Whether a loss is no finite number, or at most what is wanted. */
static inline __attribute__((always_inline)) int FN(lane_due)(const double *value, const double *tol, double floor)
{
#if WIDE
    typedef la_d8 FN(doubles);
#else
    typedef la_d4 FN(doubles);
#endif
    enum { COUNT = sizeof(FN(doubles)) / sizeof(double) };
    typedef long long FN(flags) __attribute__((vector_size(sizeof(FN(doubles)))));
    FN(flags) due = {0};
    for (int l = 0; l < LANES; l += COUNT) {
        const FN(doubles) v = *(const FN(doubles) *)(value + l);
        due |= ~(v - v == 0) | (v + floor <= *(const FN(doubles) *)(tol + l));
    }
    long long any = 0;
    for (int l = 0; l < COUNT; l++)
        any |= due[l];
    return any != 0;
}

/* Up to `budget` steps of all lanes; returns how many are left of them, and -1 if networks are left. */
static long FN(lanes)(la_lanes *c, long budget)
{
    double value[LANES] __attribute__((aligned(64))), tol[LANES] __attribute__((aligned(64)));
    if (c->next == 0) {
        c->alive = LANES;
        for (int l = 0; l < LANES; l++)
            FN(lane_fill)(c, l);
    }
    for (int fresh = 1; c->alive;) {
        long long wait;
        if (fresh) {
            for (int l = 0; l < LANES; l++)
                tol[l] = c->who[l] < 0 ? -INFINITY : c->tol[c->who[l]];
            fresh = 0;
        }
        wait = FN(lane_wait)(c);
        for (long long t = 0;; t++) {
            if (c->order)
                FN(lane_gather)(c, t);
            FN(lane_forward)(c, value);
            if (t >= wait || FN(lane_due)(value, tol, c->floor)) {
                for (int l = 0; l < LANES; l++)
                    if (c->who[l] >= 0)
                        c->done[l] += t;
                for (int l = 0; l < LANES; l++)
                    if (c->who[l] >= 0) {
                        if (c->losses)
                            c->losses[c->who[l] * c->row + c->done[l]] = value[l];
                        fresh |= FN(lane_look)(c, l, value[l]);
                    }
                if (fresh || !c->alive)
                    break;
                t = 0;
                wait = FN(lane_wait)(c);
            }
            if (budget-- <= 0) {
                for (int l = 0; l < LANES; l++)
                    if (c->who[l] >= 0)
                        c->done[l] += t;
                return -1;
            }
            if (c->losses)
                for (int l = 0; l < LANES; l++)
                    if (c->who[l] >= 0)
                        c->losses[c->who[l] * c->row + c->done[l] + t] = value[l];
            for (int l = 0; l < LANES; l++)
                c->last[l] = value[l];
            if (c->schedule)
                FN(lane_schedule)(c, t);
            FN(lane_backward)(c);
        }
    }
    return budget;
}

#undef AT
