/* Training of a chain whose matrices all fit in a few registers, from an end, for one element type and instruction set.
 *
 * At these sizes transposing a factor takes longer than a product. Each layer is therefore kept twice, W_i and its transpose:
 *
 *     A_i = A_{i-1} W_i^T          D_{i-1} = D_i W_i          W_i += rate D_i^T A_{i-1}          W_i^T += rate A_{i-1}^T D_i
 *
 * Both copies get the same sums in the same order, so they stay the same to the last bit. The first layer has no adjoint and
 * lives as its transpose alone. From pivot d it is the transposed network, x^T -> x^T W_1^T ... W_d^T read from the outputs, that is
 * trained on the identity, with the data behind it.
 *
 * A rule that must see all gradients first takes them from G and changes the layers that are given; the others are transposed again.
 * The includer defines T, V, LANES and FN(x): see la_each.h.
 */

#define PITCH ((int)(LA_LINE / sizeof(T)))

/* From the layers that are given to their transposes. */
static inline __attribute__((always_inline)) void FN(turn_layers)(const la_chain *c)
{
    const int *k = c->widths;
    for (int i = 1; i <= c->depth; i++)
        if (c->turned)
            FN(transpose)(k[i - 1], k[i], c->R[i], PITCH, c->W[i], PITCH);
        else
            FN(transpose)(k[i], k[i - 1], c->W[i], PITCH, c->R[i], PITCH);
}

/* W_1 (or G_1) from its transpose: a transposition writes whole vectors of rows, for which it has no room; `spare` has. */
static inline __attribute__((always_inline)) void FN(turn_first)(const la_chain *c, const T *from, T *spare, T *to)
{
    FN(transpose)(c->widths[0], c->widths[1], from, PITCH, spare, PITCH);
    for (int j = 0; j < c->widths[1] * PITCH; j += LANES)
        STORE(to + j, LOAD(spare + j));
}

/* C (m, one row of PITCH) = alpha * A (m, k) @ B + beta * C */
#define PRODUCT(m, k, alpha, A, a_row, a_col, B, beta, C) \
    FN(blocks)(PITCH / LANES, m, k, alpha, A, a_row, a_col, B, PITCH, beta, C, PITCH)

/* Up to `steps` steps; values[t] is the loss before step t. Returns the steps taken: fewer where the loss is not a finite number,
 * or with `floor` at most `tol`. */
static long FN(chain)(const la_chain *c, long steps, double *values, double floor, double tol)
{
    const int d = c->depth, s = c->rows;
    const int *k = c->widths;
    const T *Y = c->Y, *x = c->X, *scale = c->scale;
    T **A = (T **)c->A, **W = (T **)c->W, **R = (T **)c->R;
    const T slope = (T)(2 * c->factor);
    long t = 0;
    FN(turn_layers)(c);
    if (!x) /* the data are the identity */
        A[1] = R[1];
    for (; t < steps; t++) {
        if (c->diagonal)
            for (int r = 0; r < s; r++)
                for (int j = 0; j < PITCH; j += LANES)
                    STORE(A[1] + r * PITCH + j, x[r] * LOAD(R[1] + r * PITCH + j));
        else if (x)
            PRODUCT(s, k[0], 1, x, PITCH, 1, R[1], 0, A[1]);
        for (int i = 2; i <= d; i++)
            PRODUCT(s, k[i - 1], 1, A[i - 1], PITCH, 1, R[i], 0, A[i]);
        T *D = c->D[0], *below = c->D[1];
        if (scale)
            FN(scale)(s, PITCH, A[d], PITCH, scale, D, PITCH);
        else
            for (int j = 0; j < s * PITCH; j += LANES)
                STORE(D + j, LOAD((T *)A[d] + j));
        const double value = c->factor * FN(residual)(s * PITCH, D, Y, slope);
        values[t] = value;
        if (!(value - value == 0) || value + floor <= tol)
            break;
        if (scale)
            FN(scale)(s, PITCH, D, PITCH, scale, D, PITCH);
        for (int i = d; i > 1; i--) {
            const T rate = (T)-c->lr[i], keep = (T)(1 - c->lr[i] * c->decay[i]);
            PRODUCT(s, k[i], 1, D, PITCH, 1, W[i], 0, below);
            if (!c->use) {
                PRODUCT(k[i], s, rate, D, 1, PITCH, A[i - 1], keep, W[i]);
                PRODUCT(k[i - 1], s, rate, A[i - 1], 1, PITCH, D, keep, R[i]);
            } else if (c->turned)
                PRODUCT(k[i - 1], s, 1, A[i - 1], 1, PITCH, D, 0, (T *)c->G[i]);
            else
                PRODUCT(k[i], s, 1, D, 1, PITCH, A[i - 1], 0, (T *)c->G[i]);
            T *spare = D;
            D = below;
            below = spare;
        }
        /* the first layer has its transpose alone; of its gradient G_1 is the transpose of that */
        T *first = !c->use ? R[1] : c->turned ? c->G[1] : below;
        const T rate = c->use ? 1 : (T)-c->lr[1], keep = c->use ? 0 : (T)(1 - c->lr[1] * c->decay[1]);
        if (x && !c->diagonal)
            PRODUCT(k[0], s, rate, x, 1, PITCH, D, keep, first);
        else
            for (int r = 0; r < k[0]; r++) {
                const T f = x ? rate * x[r] : rate;
                for (int j = 0; j < PITCH; j += LANES)
                    STORE(first + r * PITCH + j, keep * LOAD(R[1] + r * PITCH + j) + f * LOAD(D + r * PITCH + j));
            }
        if (c->use) {
            if (!c->turned)
                FN(turn_first)(c, first, D, c->G[1]);
            c->use(c->owner, c->begin + t);
            FN(turn_layers)(c);
        }
    }
    if (!c->turned && !c->use)
        FN(turn_first)(c, R[1], c->D[0], W[1]);
    return t;
}

#undef PITCH
#undef PRODUCT
