/* What the rules that divide by a root of a mean of squares have in common. The includer defines T, V, LANES, WIDE and FN(x): see
 * la_each.h.
 */

/* mean / (root sqrt(squares) + eps), `squares` >= 0. Of doubles a processor's own square roots and quotients come one every some 20
 * cycles. With AVX-512 each is one step of Newton's from 14 bits, which gives 27, and one that takes the residual along, which gives 54. */
static inline __attribute__((always_inline)) V FN(over_root)(V mean, V squares, V root, T eps)
{
#if WIDE && LANES == 8
    const __m512d x = (__m512d)squares;
    V y = (V)_mm512_rsqrt14_pd(x);
    y += y * ((T)0.5 - ((T)0.5 * squares) * y * y);
    V found = squares * y;
    found += ((T)0.5 * y) * (squares - found * found);
    /* the root of zero is zero */
    found = (V)_mm512_maskz_mov_pd(_mm512_cmp_pd_mask(x, _mm512_setzero_pd(), _CMP_NEQ_UQ), (__m512d)found);
    const V below = root * found + eps;
    y = (V)_mm512_rcp14_pd((__m512d)below);
    y += y * (1 - below * y);
    found = mean * y;
    return found + y * (mean - found * below);
#else
    V found;
    for (int l = 0; l < LANES; l++)
        found[l] = sizeof(T) == sizeof(float) ? (T)__builtin_sqrtf((float)squares[l]) : (T)__builtin_sqrt((double)squares[l]);
    return mean / (root * found + eps);
#endif
}
