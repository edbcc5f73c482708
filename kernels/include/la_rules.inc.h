/* Update rules entry by entry, for one element type and instruction set; formulas: src/linalign/optim. No entry meets another, so that
 * the compiler makes vectors of the loops. `n` counts the padding of short rows too: there all arrays are zero, and stay zero.
 * The includer defines T and FN(x): see la_each.h.
 */

#define ROOT(x) (sizeof(T) == sizeof(float) ? (T)__builtin_sqrtf((float)(x)) : (T)__builtin_sqrt((double)(x)))

/* v = momentum v + damped (g + decay w); w -= rate (nesterov ? g + decay w + momentum v : v); v NULL without momentum */
static void FN(sgd)(ptrdiff_t n, T *restrict w, const T *restrict g, T *restrict v, const double *c)
{
    const T decay = (T)c[0], rate = (T)c[1], momentum = (T)c[2], damped = (T)c[3];
    if (!v)
        for (ptrdiff_t i = 0; i < n; i++)
            w[i] -= rate * (g[i] + decay * w[i]);
    else if (c[4] != 0)
        for (ptrdiff_t i = 0; i < n; i++) {
            const T along = g[i] + decay * w[i];
            v[i] = momentum * v[i] + damped * along;
            w[i] -= rate * (along + momentum * v[i]);
        }
    else
        for (ptrdiff_t i = 0; i < n; i++) {
            v[i] = momentum * v[i] + damped * (g[i] + decay * w[i]);
            w[i] -= rate * v[i];
        }
}

#include "la_root.inc.h"

/* m += (1 - b1) (g - m), v = b2 v + (1 - b2) g^2, w = keep w - rate m / (root sqrt(v) + eps), with g + decay w */
static void FN(adam)(ptrdiff_t n, T *restrict w, const T *restrict g, T *restrict m, T *restrict v, const double *c)
{
    const T decay = (T)c[0], rate = (T)c[1], fresh = (T)c[2], old = (T)c[3], square = (T)c[4], root = (T)c[5], eps = (T)c[6], keep = (T)c[7];
    ptrdiff_t i = 0;
#if WIDE && LANES == 8
    for (; i + LANES <= n; i += LANES) {
        const V at = LOAD(w + i), along = LOAD(g + i) + decay * at;
        const V mean = LOAD(m + i) + fresh * (along - LOAD(m + i)), squares = old * LOAD(v + i) + square * along * along;
        STORE(m + i, mean);
        STORE(v + i, squares);
        STORE(w + i, keep * at - rate * FN(over_root)(mean, squares, (V){0} + root, eps));
    }
#endif
    for (; i < n; i++) {
        const T along = g[i] + decay * w[i];
        const T mean = m[i] + fresh * (along - m[i]);
        const T squares = old * v[i] + square * along * along;
        m[i] = mean;
        v[i] = squares;
        w[i] = keep * w[i] - rate * (mean / (root * ROOT(squares) + eps));
    }
}

/* v = a v + (1 - a) g^2, w -= rate g / (sqrt(v - m^2) + eps); m NULL if not centred, b NULL without momentum; with g + decay w */
static void FN(rmsprop)(ptrdiff_t n, T *restrict w, const T *restrict g, T *restrict v, T *restrict m, T *restrict b, const double *c)
{
    const T decay = (T)c[0], rate = (T)c[1], old = (T)c[2], fresh = (T)c[3], eps = (T)c[4], momentum = (T)c[5];
#define STEP(below, use)                                                                                              \
    for (ptrdiff_t i = 0; i < n; i++) {                                                                               \
        const T along = g[i] + decay * w[i];                                                                          \
        const T squares = old * v[i] + fresh * along * along;                                                         \
        v[i] = squares;                                                                                               \
        const T by = along / (ROOT(below) + eps);                                                                     \
        use;                                                                                                          \
    }
#define CENTRED (m[i] += fresh * (along - m[i]), squares - m[i] * m[i])
#define MOMENTUM                                                                                                      \
    b[i] = momentum * b[i] + by;                                                                                      \
    w[i] -= rate * b[i]
    if (m && b)
        STEP(CENTRED, MOMENTUM)
    else if (m)
        STEP(CENTRED, w[i] -= rate * by)
    else if (b)
        STEP(squares, MOMENTUM)
    else
        STEP(squares, w[i] -= rate * by)
#undef STEP
#undef CENTRED
#undef MOMENTUM
}

/* s += g^2, w -= rate g / (sqrt(s) + eps), with g + decay w */
static void FN(adagrad)(ptrdiff_t n, T *restrict w, const T *restrict g, T *restrict s, const double *c)
{
    const T decay = (T)c[0], rate = (T)c[1], eps = (T)c[2];
    for (ptrdiff_t i = 0; i < n; i++) {
        const T along = g[i] + decay * w[i];
        const T squares = s[i] + along * along;
        s[i] = squares;
        w[i] -= rate * (along / (ROOT(squares) + eps));
    }
}

/* m += fresh (g - m), w = keep w - rate sign(m); m NULL without momentum; a nan stays one */
static void FN(sign)(ptrdiff_t n, T *restrict w, const T *restrict g, T *restrict m, const double *c)
{
    const T keep = (T)c[0], rate = (T)c[1], fresh = (T)c[2];
#define SIGN(x) ((x) > 0 ? rate : (x) < 0 ? -rate : 0 * (x))
    if (m)
        for (ptrdiff_t i = 0; i < n; i++) {
            m[i] += fresh * (g[i] - m[i]);
            w[i] = keep * w[i] - SIGN(m[i]);
        }
    else
        for (ptrdiff_t i = 0; i < n; i++)
            w[i] = keep * w[i] - SIGN(g[i]);
#undef SIGN
}

/* w = keep w - rate g */
static void FN(along)(ptrdiff_t n, T *restrict w, const T *restrict g, T keep, T rate)
{
    for (ptrdiff_t i = 0; i < n; i++)
        w[i] = keep * w[i] - rate * g[i];
}

/* a = keep a + fresh w */
static void FN(mean)(ptrdiff_t n, T *restrict a, const T *restrict w, T keep, T fresh)
{
    for (ptrdiff_t i = 0; i < n; i++)
        a[i] = keep * a[i] + fresh * w[i];
}

/* The sum of g^2 / inverse, in double; `inverse` NULL for ones. */
static double FN(squares)(ptrdiff_t n, const T *restrict g, const double *restrict inverse)
{
    double total[8] = {0};
    ptrdiff_t i = 0;
    if (!inverse)
        for (; i + 8 <= n; i += 8)
            for (int l = 0; l < 8; l++)
                total[l] += (double)g[i + l] * (double)g[i + l];
    for (; i < n; i++)
        total[0] += (double)g[i] * (double)g[i] / (inverse ? inverse[i] : 1.0);
    return ((total[0] + total[1]) + (total[2] + total[3])) + ((total[4] + total[5]) + (total[6] + total[7]));
}

#undef ROOT
