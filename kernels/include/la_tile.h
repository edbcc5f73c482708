/* Small products in registers: one table of functions an element type, filled for the best instruction set at import.
 *
 * The baseline build has no table entries: there BLAS does everything (a tile without AVX spills and loses 40-fold).
 * GNU vector types only, no intrinsics; other compilers and processors take the baseline.
 */
#ifndef LA_TILE_H
#define LA_TILE_H

#include <stddef.h>
#include "la_vector.h"

#define LA_TABLE(T, NAME)                                                                                             \
    typedef struct {                                                                                                  \
        void (*gemm)(int, int, int, T, const T *, ptrdiff_t, ptrdiff_t, const T *, ptrdiff_t, T, T *, ptrdiff_t);     \
        void (*dot_update)(int, int, T *, ptrdiff_t, const T *, T *, const T *, T, T);                                \
        void (*sum_update)(int, int, T *, ptrdiff_t, const T *, T *, const T *, T, T);                                \
        double (*residual)(ptrdiff_t, T *, const T *, T);                                                             \
        void (*transpose)(int, int, const T *, ptrdiff_t, T *, ptrdiff_t);                                            \
        void (*axpby)(ptrdiff_t, T, const T *, T, T *);                                                               \
        void (*scale)(int, int, const T *, ptrdiff_t, const T *, T *, ptrdiff_t);                                     \
    } NAME;

LA_TABLE(float, la_table_float)
LA_TABLE(double, la_table_double)

static la_table_float la_float;
static la_table_double la_double;

#ifdef LA_HAVE_TILES

/* Shuffles that need constant lists of lanes: stage h of a transposition, for each number of lanes. */
#ifdef __has_builtin
#if __has_builtin(__builtin_shufflevector)
#define LA_SHUFFLE
#define LA_LOW(L, h, a, b) LA_LOW_(L, h, a, b)
#define LA_LOW_(L, h, a, b) LA_LOW_##L(h, a, b)
#define LA_HIGH(L, h, a, b) LA_HIGH_(L, h, a, b)
#define LA_HIGH_(L, h, a, b) LA_HIGH_##L(h, a, b)
/* lane e of the low half: a[e] if bit h of e is clear, else b[e - h]; of the high half: a[e + h] if clear, else b[e] */
#define LA_LO(e, L, h) ((e) & (h) ? (L) + (e) - (h) : (e))
#define LA_HI(e, L, h) ((e) & (h) ? (L) + (e) : (e) + (h))
#define LA_4(F, e, L, h) F(e, L, h), F(e + 1, L, h), F(e + 2, L, h), F(e + 3, L, h)
#define LA_LOW_4(h, a, b) __builtin_shufflevector(a, b, LA_4(LA_LO, 0, 4, h))
#define LA_HIGH_4(h, a, b) __builtin_shufflevector(a, b, LA_4(LA_HI, 0, 4, h))
#define LA_LOW_8(h, a, b) __builtin_shufflevector(a, b, LA_4(LA_LO, 0, 8, h), LA_4(LA_LO, 4, 8, h))
#define LA_HIGH_8(h, a, b) __builtin_shufflevector(a, b, LA_4(LA_HI, 0, 8, h), LA_4(LA_HI, 4, 8, h))
#define LA_16(F, h) LA_4(F, 0, 16, h), LA_4(F, 4, 16, h), LA_4(F, 8, 16, h), LA_4(F, 12, 16, h)
#define LA_LOW_16(h, a, b) __builtin_shufflevector(a, b, LA_16(LA_LO, h))
#define LA_HIGH_16(h, a, b) __builtin_shufflevector(a, b, LA_16(LA_HI, h))
#endif
#endif

#define LA_BODY "la_tile.inc.h"
#define LA_NO_BASE
#include "la_each.h"

#endif

static void la_select(int level)
{
    /* never cleared: a chain of the other level may be running in another thread; level 0 does not read the tables */
#ifdef LA_HAVE_TILES
    if (level == 4) {
        la_float = (la_table_float){la_f_v4_gemm, la_f_v4_dot_update, la_f_v4_sum_update, la_f_v4_residual,
                                     la_f_v4_transpose, la_f_v4_axpby, la_f_v4_scale};
        la_double = (la_table_double){la_d_v4_gemm, la_d_v4_dot_update, la_d_v4_sum_update, la_d_v4_residual,
                                     la_d_v4_transpose, la_d_v4_axpby, la_d_v4_scale};
    } else if (level == 3) {
        la_float = (la_table_float){la_f_v3_gemm, la_f_v3_dot_update, la_f_v3_sum_update, la_f_v3_residual,
                                     la_f_v3_transpose, la_f_v3_axpby, la_f_v3_scale};
        la_double = (la_table_double){la_d_v3_gemm, la_d_v3_dot_update, la_d_v3_sum_update, la_d_v3_residual,
                                     la_d_v3_transpose, la_d_v3_axpby, la_d_v3_scale};
    }
#else
    (void)level;
#endif
}

#endif
