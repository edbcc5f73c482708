/* Small products in registers: one table of functions an element type, filled for the best instruction set at import.
 *
 * The baseline build has no table entries: there BLAS does everything (a tile without AVX spills and loses 40-fold).
 * GNU vector types only, no intrinsics; other compilers and processors take the baseline.
 */
#ifndef LA_TILE_H
#define LA_TILE_H

#include <stddef.h>
#include <string.h>

#define LA_TABLE(T, NAME)                                                                                             \
    typedef struct {                                                                                                  \
        void (*gemm)(int, int, int, T, const T *, ptrdiff_t, ptrdiff_t, const T *, ptrdiff_t, T, T *, ptrdiff_t);     \
        void (*dot_update)(int, int, T *, ptrdiff_t, const T *, T *, const T *, T, T);                                \
        void (*sum_update)(int, int, T *, ptrdiff_t, const T *, T *, const T *, T, T);                                \
        double (*residual)(ptrdiff_t, T *, const T *, T);                                                             \
    } NAME;

LA_TABLE(float, la_table_float)
LA_TABLE(double, la_table_double)

static la_table_float la_float;
static la_table_double la_double;

#if (defined(__GNUC__) || defined(__clang__)) && defined(__x86_64__)
#define LA_HAVE_TILES 1

#if defined(__clang__)
#define LA_PUSH_V3 _Pragma("clang attribute push(__attribute__((target(\"avx2,fma\"))), apply_to = function)")
#define LA_PUSH_V4 _Pragma("clang attribute push(__attribute__((target(\"avx2,fma,avx512f,avx512vl,avx512dq\"))), apply_to = function)")
#define LA_POP _Pragma("clang attribute pop")
#else
#define LA_PUSH_V3 _Pragma("GCC push_options") _Pragma("GCC target(\"avx2,fma\")")
#define LA_PUSH_V4 _Pragma("GCC push_options") _Pragma("GCC target(\"avx2,fma,avx512f,avx512vl,avx512dq\")")
#define LA_POP _Pragma("GCC pop_options")
#endif

typedef float la_f8 __attribute__((vector_size(32)));
typedef double la_d4 __attribute__((vector_size(32)));
typedef float la_f16 __attribute__((vector_size(64)));
typedef double la_d8 __attribute__((vector_size(64)));

LA_PUSH_V3
#define T float
#define V la_f8
#define LANES 8
#define FN(x) la_f_v3_##x
#include "la_tile.inc.h"
#define T double
#define V la_d4
#define LANES 4
#define FN(x) la_d_v3_##x
#include "la_tile.inc.h"
LA_POP

LA_PUSH_V4
#define T float
#define V la_f16
#define LANES 16
#define FN(x) la_f_v4_##x
#include "la_tile.inc.h"
#define T double
#define V la_d8
#define LANES 8
#define FN(x) la_d_v4_##x
#include "la_tile.inc.h"
LA_POP

#endif

/* The level that this processor runs: 0 baseline, 3 AVX2 and FMA, 4 AVX-512. */
static int la_detect(void)
{
#ifdef LA_HAVE_TILES
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        return 4;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return 3;
#endif
    return 0;
}

static void la_select(int level)
{
    memset(&la_float, 0, sizeof la_float);
    memset(&la_double, 0, sizeof la_double);
#ifdef LA_HAVE_TILES
    if (level == 4) {
        la_float = (la_table_float){la_f_v4_gemm, la_f_v4_dot_update, la_f_v4_sum_update, la_f_v4_residual};
        la_double = (la_table_double){la_d_v4_gemm, la_d_v4_dot_update, la_d_v4_sum_update, la_d_v4_residual};
    } else if (level == 3) {
        la_float = (la_table_float){la_f_v3_gemm, la_f_v3_dot_update, la_f_v3_sum_update, la_f_v3_residual};
        la_double = (la_table_double){la_d_v3_gemm, la_d_v3_dot_update, la_d_v3_sum_update, la_d_v3_residual};
    }
#else
    (void)level;
#endif
}

#endif
