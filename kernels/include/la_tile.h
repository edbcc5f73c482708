/* Small products in registers, and what else needs vectors: one table of functions an instruction set, never written.
 *
 * The baseline of x86-64 has none: there BLAS does everything (a tile without AVX spills and loses 40-fold). That of arm64 has 32 registers.
 * GNU vector types only, no intrinsics; other compilers and processors take the baseline.
 */
#ifndef LA_TILE_H
#define LA_TILE_H

#include <stddef.h>
#include <string.h>
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
        void (*stripes_fill)(int, int, int, const T *, ptrdiff_t, const T *, ptrdiff_t, T *, ptrdiff_t);              \
        void (*panels)(int, int, int, int, int, T, const T *, ptrdiff_t, const T *, ptrdiff_t, T, T *, ptrdiff_t,     \
                       int, T *);                                                                                    \
        void (*few)(int, int, int, int, T, const T *, ptrdiff_t, const T *, ptrdiff_t, T, T *, ptrdiff_t);            \
        void (*combined)(ptrdiff_t, int, const T *, const T *const *, const T *, T *);                                \
    } NAME;

LA_TABLE(float, la_tile_float)
LA_TABLE(double, la_tile_double)

/* the functions of one instruction set, for both element types */
typedef struct {
    la_tile_float f;
    la_tile_double d;
} la_tile;

#if defined(LA_HAVE_TILES) || defined(LA_HAVE_NEON)

#define LA_BODY "la_tile.inc.h"
#define LA_NO_BASE
#include "la_each.h"
#define LA_BODY "la_stripes.inc.h"
#define LA_NO_BASE
#include "la_each.h"
#define LA_BODY "la_panels.inc.h"
#define LA_NO_BASE
#include "la_each.h"
#define LA_BODY "la_few.inc.h"
#define LA_NO_BASE
#include "la_each.h"

#define LA_FUNCTIONS(P)                                                                                               \
    {P##gemm, P##dot_update, P##sum_update, P##residual, P##transpose, P##axpby, P##scale, P##stripes_fill, P##panels, \
     P##few, P##combined}
#ifdef LA_HAVE_NEON
static const la_tile la_tile_neon = {LA_FUNCTIONS(la_f_base_), LA_FUNCTIONS(la_d_base_)};
#else
static const la_tile la_tile_avx2 = {LA_FUNCTIONS(la_f_v3_), LA_FUNCTIONS(la_d_v3_)};
static const la_tile la_tile_avx512 = {LA_FUNCTIONS(la_f_v4_), LA_FUNCTIONS(la_d_v4_)};
#endif
#undef LA_FUNCTIONS

#endif

/* NULL for the baseline. */
static const la_tile *la_tile_of(int level)
{
#ifdef LA_HAVE_TILES
    if (level == LA_AVX512)
        return &la_tile_avx512;
    if (level == LA_AVX2)
        return &la_tile_avx2;
#elif defined(LA_HAVE_NEON)
    if (level == LA_NEON)
        return &la_tile_neon;
#endif
    (void)level;
    return NULL;
}

#endif
