/* Training of a chain of dense and diagonal layers by one row of the data a step, for one element type and instruction set.
 *
 * The row is read where it lies. Each layer is passed over twice: once for its product, once for the adjoint and the update together,
 *
 *     a_i = W_i a_{i-1}          d_{i-1} = W_i^T d_i,   W_i = keep W_i - lr d_i a_{i-1}^T
 *
 * and a diagonal layer is three vectors. The includer defines T, V, LANES and FN(x): see la_each.h.
 */

#define FOUR (4 * LANES)

/* The sum over the lanes of v in the first lane, zero in the others. */
static inline __attribute__((always_inline)) V FN(row_total)(V v)
{
    V x[LANES] = {v};
    return FN(sums)(x);
}

/* out = W a */
static inline __attribute__((always_inline)) void FN(row_apply)(const la_row_layer *L, const T *a, T *out)
{
    /* ones, then zeros: from LANES - r on there are r ones */
    static const T among[2 * LANES] = {[0 ... LANES - 1] = 1};
    const T *W = L->theta;
    const ptrdiff_t ld = L->ld;
    const int n = L->n_in;
    if (L->n_out == 1) {
        V s[4] = {{0}};
        int i = 0;
        for (; i + FOUR <= n; i += FOUR)
#pragma GCC unroll 4
            for (int q = 0; q < 4; q++)
                s[q] += LOAD(W + i + q * LANES) * LOAD(a + i + q * LANES);
        for (; i < n; i += LANES)
            s[0] += LOAD(W + i) * LOAD(a + i);
        STORE(out, FN(row_total)((s[0] + s[1]) + (s[2] + s[3])));
        return;
    }
    for (int j = 0; j < L->n_out; j += LANES) {
        const int rows = L->n_out - j < LANES ? L->n_out - j : LANES;
        V s[LANES];
#pragma GCC unroll 16
        for (int r = 0; r < LANES; r++)
            s[r] = (V){0};
        for (int i = 0; i < n; i += LANES) {
            const V x = LOAD(a + i);
#pragma GCC unroll 16
            for (int r = 0; r < LANES; r++) /* beyond the last row it comes again, and is taken out below */
                s[r] += LOAD(W + (j + (r < rows ? r : rows - 1)) * ld + i) * x;
        }
        const V found = FN(sums)(s);
        STORE(out + j, rows == LANES ? found : found * LOAD(among + LANES - rows));
    }
}

/* z = d W unless z is NULL, and W = keep W + rate d a^T */
static inline __attribute__((always_inline)) void FN(row_descend)(const la_row_layer *L, const T *d, const T *a, T *z, T keep, T rate)
{
    T *W = L->theta;
    const ptrdiff_t ld = L->ld;
    const int n = L->n_in, m = L->n_out;
    if (m == 1) {
        const T e = d[0], f = rate * e;
        for (int i = 0; i < n; i += LANES) {
            const V w = LOAD(W + i);
            STORE(W + i, keep * w + f * LOAD(a + i));
            if (z)
                STORE(z + i, e * w);
        }
        return;
    }
    for (int i = 0; i < n; i += LANES) {
        const V x = rate * LOAD(a + i);
        V even = {0}, odd = {0};
        T *w = W + i;
        int j = 0;
        for (; j + 2 <= m; j += 2, w += 2 * ld) {
            const V u = LOAD(w), v = LOAD(w + ld);
            even += d[j] * u;
            odd += d[j + 1] * v;
            STORE(w, keep * u + d[j] * x);
            STORE(w + ld, keep * v + d[j + 1] * x);
        }
        if (j < m) {
            const V u = LOAD(w);
            even += d[j] * u;
            STORE(w, keep * u + d[j] * x);
        }
        if (z)
            STORE(z + i, even + odd);
    }
}

/* z = theta d unless z is NULL, and theta = keep theta + rate d a */
static inline __attribute__((always_inline)) void FN(row_scale)(int n, T *theta, const T *d, const T *a, T *z, T keep, T rate)
{
    for (int i = 0; i < n; i += LANES) {
        const V w = LOAD(theta + i), e = LOAD(d + i);
        STORE(theta + i, keep * w + rate * (e * LOAD(a + i)));
        if (z)
            STORE(z + i, w * e);
    }
}

/* Up to `steps` steps; values[t] is the loss of the row of step t before it. Returns the steps taken: fewer where the loss is not a
 * finite number, or with `floor` at most `tol`. */
static long FN(row)(const la_row *c, long steps, double *values, double floor, double tol)
{
    const int d = c->depth, outputs = c->layers[d - 1].n_out;
    const T slope = (T)(2 * c->factor);
    T **A = (T **)c->A;
    for (long t = 0; t < steps; t++) {
        const T *x = (const T *)c->X + c->rows[t] * c->ldx, *y = (const T *)c->Y + c->rows[t] * c->ldy, *a = x;
        const double *lr = c->rates ? c->rates + t * d : c->lr;
        for (int i = 1; i <= d; i++) {
            const la_row_layer *L = &c->layers[i - 1];
            if (L->diagonal)
                for (int j = 0; j < L->n_out; j += LANES)
                    STORE(A[i] + j, LOAD((T *)L->theta + j) * LOAD(a + j));
            else
                FN(row_apply)(L, a, A[i]);
            a = A[i];
        }
        T *D = c->D[0], *below = c->D[1];
        FN(doubles) squares = {0};
        for (int j = 0; j < outputs; j += LANES) {
            const V r = LOAD(a + j) - LOAD(y + j);
            const FN(doubles) wide = __builtin_convertvector(r, FN(doubles));
            squares += wide * wide;
            STORE(D + j, slope * r);
        }
        double value = 0;
        for (int l = 0; l < LANES; l++)
            value += squares[l];
        value *= c->factor;
        values[t] = value;
        if (!(value - value == 0) || value + floor <= tol)
            return t;
        for (int i = d; i >= 1; i--) {
            const la_row_layer *L = &c->layers[i - 1];
            const T rate = (T)-lr[i - 1], keep = (T)(1 - lr[i - 1] * c->decay[i - 1]);
            a = i > 1 ? A[i - 1] : x;
            if (L->diagonal)
                FN(row_scale)(L->n_out, L->theta, D, a, i > 1 ? below : NULL, keep, rate);
            else
                FN(row_descend)(L, D, a, i > 1 ? below : NULL, keep, rate);
            T *spare = D;
            D = below;
            below = spare;
        }
    }
    return steps;
}

#undef FOUR
