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

/* F becomes the gradient of factor * sum log(1 + exp(-y F)); total (LANES,) its sum. `count` entries, y scalars. */
static __attribute__((noinline)) void FN(lane_logistic)(long count, T *F, const T *y, double factor, double *total)
{
    for (long e = 0; e < count; e++) {
        T *f = F + e * LANES;
        const double sign = (double)y[e];
        for (int l = 0; l < LANES; l++) {
            const double margin = sign * (double)f[l];
            const double power = FN(exp_below)(margin > 0 ? -margin : margin);
            const double above = margin > 0 ? power : 1.0;
            total[l] += FN(log_above)(power) + (margin > 0 ? 0.0 : -margin);
            f[l] = (T)(-factor * sign * (above / (1 + power)));
        }
    }
}

/* F becomes the gradient of factor * sum (F - y)^2; total (LANES,) the sum of squares. */
static __attribute__((noinline)) void FN(lane_squares)(long count, T *F, const T *y, double factor, double *total)
{
    const T slope = (T)(2 * factor);
    for (long e = 0; e < count; e++) {
        const V r = AT(F + e * LANES) - y[e];
        for (int l = 0; l < LANES; l++)
            total[l] += (double)r[l] * (double)r[l];
        AT(F + e * LANES) = slope * r;
    }
}
