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
