/* Losses that are no part of a product, entry by entry over matrices of vectors.
 *
 * Exponential and logarithm are sums that the compiler makes vectors of: a call of the library's would be one lane at a time.
 * The includer defines T, V, LANES and FN(x), and AT(p) of la_lane_tile.inc.h.
 */

/* exp(x) for x <= 0, to two units in the last place; below -708, where it is no normal number, exp(-708). */
static inline __attribute__((always_inline)) double FN(exp_below)(double x)
{
    static const double c[] = {1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
                               1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0};
    const double shift = 0x1.8p52;
    x = x < -708.0 ? -708.0 : x; /* nan stays */
    const double whole = x * 1.4426950408889634 + shift, n = whole - shift;
    const double r = (x - n * 0x1.62e42fee00000p-1) - n * 0x1.a39ef35793c76p-33;
    double sum = c[0];
#pragma GCC unroll 13
    for (int i = 1; i < 14; i++)
        sum = sum * r + c[i];
    /* n stands in the last bits of `whole` */
    long long bits;
    memcpy(&bits, &whole, sizeof bits);
    bits = (long long)(((unsigned long long)bits + 1023) << 52);
    double scale;
    memcpy(&scale, &bits, sizeof scale);
    return sum * scale;
}

/* log(1 + e) for 0 <= e <= 1, as 2 artanh(e / (2 + e)): to a few units in the last place, however small e is. */
static inline __attribute__((always_inline)) double FN(log_above)(double e)
{
    const double z = e / (2 + e), w = z * z;
    double sum = 1.0 / 35;
#pragma GCC unroll 17
    for (int i = 33; i > 0; i -= 2)
        sum = sum * w + 1.0 / i;
    return 2 * z * sum;
}

/* log(x) for x >= 1, as that of a power of two and 2 artanh((m - 1) / (m + 1)), m next to 1: to a few units in the last place. */
static inline __attribute__((always_inline)) double FN(log_of)(double x)
{
    unsigned long long bits, power, one;
    memcpy(&bits, &x, sizeof bits);
    /* the exponent as the last bits of a number, and the mantissa by itself */
    power = (bits >> 52) | 0x4330000000000000ULL;
    one = (bits & 0xfffffffffffffULL) | 0x3ff0000000000000ULL;
    double n, m;
    memcpy(&n, &power, sizeof n);
    memcpy(&m, &one, sizeof m);
    const double above = m > 1.4142135623730951 ? 1.0 : 0.0;
    n = (n - 0x1.0p52) - 1023 + above;
    m *= 1 - 0.5 * above;
    const double z = (m - 1) / (m + 1), w = z * z;
    double sum = 1.0 / 21;
#pragma GCC unroll 10
    for (int i = 19; i > 0; i -= 2)
        sum = sum * w + 1.0 / i;
    /* nan stays */
    return (n * 0x1.62e42fee00000p-1 + (n * 0x1.a39ef35793c76p-33 + 2 * z * sum)) + 0 * x;
}

/* What a row weighs, and whether a lane has it: all the same, or the first `seen` of each `own`. */
static inline __attribute__((always_inline)) void FN(lane_weights)(const la_lanes *c, const int own, int row, double *weight, double *there)
{
    for (int l = 0; l < LANES; l++) {
        there[l] = own ? (row < c->seen[l] ? 1.0 : 0.0) : 1.0;
        weight[l] = own ? there[l] * c->weight[l] : c->factor;
    }
}

/* F (rows, outputs) becomes the gradient of the loss; total (LANES,) its sum without the factor. Targets are scalars, or the lanes' `own`. */
#define EACH_LOSS(name)                                                                                                        \
    static __attribute__((noinline)) void FN(name)(const la_lanes *c, int rows, int outputs, T *F, const T *y, double *total)  \
    {                                                                                                                          \
        FN(name##_of)(c, 0, rows, outputs, F, y, total);                                                                       \
    }                                                                                                                          \
    static __attribute__((noinline)) void FN(name##_own)(const la_lanes *c, int rows, int outputs, T *F, const T *y,           \
                                                         double *total)                                                        \
    {                                                                                                                          \
        FN(name##_of)(c, 1, rows, outputs, F, y, total);                                                                       \
    }
#define TARGET(o, l) ((double)(own ? y[(o) * LANES + (l)] : y[o]))

/* log(1 + exp(-y F)) */
static inline __attribute__((always_inline)) void FN(lane_logistic_of)(const la_lanes *c, const int own, int rows, int outputs, T *F,
                                                                       const T *y, double *total)
{
    double weight[LANES] __attribute__((aligned(64))), there[LANES] __attribute__((aligned(64)));
    for (int r = 0; r < rows; r++, y += own ? outputs * LANES : outputs) {
        FN(lane_weights)(c, own, r, weight, there);
        for (int o = 0; o < outputs; o++, F += LANES)
            for (int l = 0; l < LANES; l++) {
                const double sign = TARGET(o, l), margin = sign * (double)F[l];
                const double power = FN(exp_below)(margin > 0 ? -margin : margin);
                const double above = margin > 0 ? power : 1.0;
                total[l] += there[l] * (FN(log_above)(power) + (margin > 0 ? 0.0 : -margin));
                F[l] = (T)(-weight[l] * sign * (above / (1 + power)));
            }
    }
}
EACH_LOSS(lane_logistic)

/* (F - y)^2 */
static inline __attribute__((always_inline)) void FN(lane_squares_of)(const la_lanes *c, const int own, int rows, int outputs, T *F,
                                                                      const T *y, double *total)
{
    double weight[LANES] __attribute__((aligned(64))), there[LANES] __attribute__((aligned(64)));
    for (int r = 0; r < rows; r++, y += own ? outputs * LANES : outputs) {
        FN(lane_weights)(c, own, r, weight, there);
        V slope;
        for (int l = 0; l < LANES; l++)
            slope[l] = (T)(2 * weight[l]);
        for (int o = 0; o < outputs; o++, F += LANES) {
            const V g = AT(F) - (own ? AT(y + o * LANES) : (V){0} + y[o]);
            for (int l = 0; l < LANES; l++)
                total[l] += there[l] * ((double)g[l] * (double)g[l]);
            AT(F) = slope * g;
        }
    }
}
EACH_LOSS(lane_squares)

/* -sum y log softmax(F) of a row */
static inline __attribute__((always_inline)) void FN(lane_entropy_of)(const la_lanes *c, const int own, int rows, int outputs, T *F,
                                                                      const T *y, double *total)
{
    double weight[LANES] __attribute__((aligned(64))), there[LANES] __attribute__((aligned(64)));
    double top[LANES] __attribute__((aligned(64))), sum[LANES] __attribute__((aligned(64))), shift[LANES] __attribute__((aligned(64)));
    for (int r = 0; r < rows; r++, F += outputs * LANES, y += own ? outputs * LANES : outputs) {
        FN(lane_weights)(c, own, r, weight, there);
        for (int l = 0; l < LANES; l++)
            top[l] = (double)F[l], sum[l] = shift[l] = 0;
        for (int o = 1; o < outputs; o++)
            for (int l = 0; l < LANES; l++) {
                const double f = (double)F[o * LANES + l];
                top[l] = f <= top[l] ? top[l] : f; /* nan stays in the sum below */
            }
        for (int o = 0; o < outputs; o++)
            for (int l = 0; l < LANES; l++) {
                const double below = (double)F[o * LANES + l] - top[l], power = FN(exp_below)(below);
                shift[l] += TARGET(o, l) * below;
                sum[l] += power;
                F[o * LANES + l] = (T)power;
            }
        for (int l = 0; l < LANES; l++)
            total[l] += there[l] * (FN(log_of)(sum[l]) - shift[l]);
        for (int o = 0; o < outputs; o++)
            for (int l = 0; l < LANES; l++)
                F[o * LANES + l] = (T)(weight[l] * ((double)F[o * LANES + l] / sum[l] - TARGET(o, l)));
    }
}
EACH_LOSS(lane_entropy)

/* The loss of all rows by its number. */
static inline __attribute__((always_inline)) void FN(lane_loss)(const la_lanes *c, const int own, int outputs, T *F, double *total)
{
    const T *y = own ? c->F : c->Y;
#define WHICH(name) (own ? FN(name##_own)(c, c->samples, outputs, F, y, total) : FN(name)(c, c->samples, outputs, F, y, total))
    if (c->loss == LA_LOGISTIC)
        WHICH(lane_logistic);
    else if (c->loss == LA_CROSS_ENTROPY)
        WHICH(lane_entropy);
    else
        WHICH(lane_squares);
#undef WHICH
}

#undef EACH_LOSS
#undef TARGET
