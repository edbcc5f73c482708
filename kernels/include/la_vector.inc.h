/* See la_vector.h; the includer defines T, V, LANES and FN(x): see la_each.h, which has LOAD and STORE. */

typedef V FN(unaligned) __attribute__((aligned(sizeof(T)), may_alias));

static inline __attribute__((always_inline)) T FN(sum)(V v)
{
    T total = 0;
#pragma GCC unroll 16
    for (int l = 0; l < LANES; l++)
        total += v[l];
    return total;
}
