/* Losses that are no part of a product, entry by entry over matrices of vectors.
 *
 * Exponential and logarithm are sums of vectors: a call of the library's would be one lane at a time. All is in double, so many lanes at a
 * time as fill a vector. The includer defines T, V, LANES and FN(x), and AT(p) of la_lane_tile.inc.h.
 */

#if WIDE
typedef la_d8 FN(doubles);
typedef la_f8 FN(half);
#else
typedef la_d4 FN(doubles);
typedef la_f4 FN(half);
#endif
typedef long long FN(flags) __attribute__((vector_size(sizeof(FN(doubles)))));
#define D FN(doubles)
#define FLAGS FN(flags)
/* lanes that are looked at together, and the passes over all of them */
enum { FN(together) = sizeof(D) / sizeof(double), FN(passes) = LANES / FN(together) };
#define ALL(x) ((D){0} + (x))
/* x where the flags are set, else y */
#define WHERE(flags, x, y) ((D)(((flags) & (FLAGS)(x)) | (~(flags) & (FLAGS)(y))))

static inline __attribute__((always_inline)) D FN(widen)(const T *from)
{
#if LANES == 8 + 8 * WIDE
    return __builtin_convertvector(*(const FN(half) *)from, D);
#else
    return *(const D *)from;
#endif
}

static inline __attribute__((always_inline)) void FN(narrow)(T *to, D x)
{
#if LANES == 8 + 8 * WIDE
    *(FN(half) *)to = __builtin_convertvector(x, FN(half));
#else
    *(D *)to = x;
#endif
}

/* As a number of the networks' type. */
static inline __attribute__((always_inline)) D FN(rounded)(D x)
{
#if LANES == 8 + 8 * WIDE
    return __builtin_convertvector(__builtin_convertvector(x, FN(half)), D);
#else
    return x;
#endif
}

/* exp(x) for x <= 0, to two units in the last place; below -708, where it is no normal number, exp(-708). */
static inline __attribute__((always_inline)) D FN(exp_below)(D x)
{
    static const double c[] = {1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
                               1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0};
    const double shift = 0x1.8p52;
    x = WHERE(x < -708.0, ALL(-708.0), x); /* nan stays */
    const D whole = x * 1.4426950408889634 + shift, n = whole - shift;
    const D r = (x - n * 0x1.62e42fee00000p-1) - n * 0x1.a39ef35793c76p-33;
    D sum = ALL(c[0]);
#pragma GCC unroll 13
    for (int i = 1; i < 14; i++)
        sum = sum * r + c[i];
    /* n stands in the last bits of `whole` */
    return sum * (D)(((FLAGS)whole + 1023) << 52);
}

/* log(1 + e) for 0 <= e <= 1, as 2 artanh(e / (2 + e)): to a few units in the last place, however small e is. */
static inline __attribute__((always_inline)) D FN(log_above)(D e)
{
    const D z = e / (2 + e), w = z * z;
    D sum = ALL(1.0 / 35);
#pragma GCC unroll 17
    for (int i = 33; i > 0; i -= 2)
        sum = sum * w + 1.0 / i;
    return 2 * z * sum;
}

/* log(x) for x >= 1, as that of a power of two and 2 artanh((m - 1) / (m + 1)), m next to 1: to a few units in the last place. */
static inline __attribute__((always_inline)) D FN(log_of)(D x)
{
    /* the exponent as the last bits of a number, and the mantissa by itself */
    const FLAGS bits = (FLAGS)x;
    D n = (D)((bits >> 52) | 0x4330000000000000LL) - 0x1.0p52, m = (D)((bits & 0xfffffffffffffLL) | 0x3ff0000000000000LL);
    const FLAGS above = m > 1.4142135623730951;
    n += WHERE(above, ALL(-1022.0), ALL(-1023.0));
    m *= WHERE(above, ALL(0.5), ALL(1.0));
    const D z = (m - 1) / (m + 1), w = z * z;
    D sum = ALL(1.0 / 21);
#pragma GCC unroll 10
    for (int i = 19; i > 0; i -= 2)
        sum = sum * w + 1.0 / i;
    /* nan stays */
    return (n * 0x1.62e42fee00000p-1 + (n * 0x1.a39ef35793c76p-33 + 2 * z * sum)) + 0 * x;
}

/* Targets of some lanes: scalars, or of each its own. */
#define TARGET(o) (own ? FN(widen)(y + (o) * LANES + l) : ALL((double)y[o]))
/* All rows, some lanes after the other: `there` says which of them have the row, `weight` is its factor there. */
#define EACH_ROW                                                                                                               \
    for (int pass = 0, l = 0; pass < FN(passes); pass++, l += FN(together)) {                                                  \
        const T *y = Y;                                                                                                        \
        T *f = F + l;                                                                                                          \
        D seen = ALL(0.0), factor = ALL(c->factor);                                                                            \
        if (own) {                                                                                                             \
            memcpy(&seen, c->seen + l, sizeof seen);                                                                           \
            memcpy(&factor, c->weight + l, sizeof factor);                                                                     \
        }                                                                                                                      \
        D sum = ALL(0.0);                                                                                                      \
        for (int r = 0; r < rows; r++, f += (long)outputs * LANES, y += own ? (long)outputs * LANES : outputs) {               \
            const FLAGS there = own ? (FLAGS)((double)r < seen) : ~(FLAGS){0};                                                \
            const D weight = WHERE(there, factor, ALL(0.0));
#define ROW_END                                                                                                                \
        }                                                                                                                      \
        *(D *)(total + l) += sum;                                                                                              \
    }
/* F (rows, outputs) becomes the gradient of the loss; total (LANES,) its sum without the factor. */
#define LOSS(name) \
    static inline __attribute__((always_inline)) void FN(name##_of)(const la_lanes *c, const int own, int rows, int outputs, T *F,  \
                                                                    const T *Y, double *total)
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

/* log(1 + exp(-y F)) */
LOSS(lane_logistic)
{
    EACH_ROW
    for (int o = 0; o < outputs; o++) {
        const D sign = TARGET(o), margin = sign * FN(widen)(f + o * LANES);
        const FLAGS right = margin > 0.0;
        const D power = FN(exp_below)(WHERE(right, -margin, margin));
        const D value = FN(log_above)(power) + WHERE(right, ALL(0.0), -margin);
        sum += WHERE(there, value, ALL(0.0));
        FN(narrow)(f + o * LANES, -weight * sign * (WHERE(right, power, ALL(1.0)) / (1 + power)));
    }
    ROW_END
}
EACH_LOSS(lane_logistic)

/* (F - y)^2 */
LOSS(lane_squares)
{
    EACH_ROW
    const D slope = FN(rounded)(2 * weight);
    for (int o = 0; o < outputs; o++) {
        /* residual and slope in the type of the network, as products have them */
        FN(narrow)(f + o * LANES, FN(widen)(f + o * LANES) - TARGET(o));
        const D g = FN(widen)(f + o * LANES);
        sum += WHERE(there, g * g, ALL(0.0));
        FN(narrow)(f + o * LANES, slope * g);
    }
    ROW_END
}
EACH_LOSS(lane_squares)

/* -sum y log softmax(F) of a row */
LOSS(lane_entropy)
{
    EACH_ROW
    D top = FN(widen)(f), all = ALL(0.0), shift = ALL(0.0);
    for (int o = 1; o < outputs; o++) {
        const D here = FN(widen)(f + o * LANES);
        top = WHERE(here <= top, top, here); /* nan stays in the sums below */
    }
    for (int o = 0; o < outputs; o++) {
        const D below = FN(widen)(f + o * LANES) - top, power = FN(exp_below)(below);
        shift += TARGET(o) * below;
        all += power;
        FN(narrow)(f + o * LANES, power);
    }
    sum += WHERE(there, FN(log_of)(all) - shift, ALL(0.0));
    const D share = 1 / all;
    for (int o = 0; o < outputs; o++)
        FN(narrow)(f + o * LANES, weight * (FN(widen)(f + o * LANES) * share - TARGET(o)));
    ROW_END
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
#undef LOSS
#undef EACH_ROW
#undef ROW_END
#undef TARGET
#undef WHERE
#undef ALL
#undef FLAGS
#undef D
