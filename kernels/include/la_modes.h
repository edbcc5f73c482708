/* The step of all modes: one function an element type, and instruction set. */
#ifndef LA_MODES_H
#define LA_MODES_H

#include <stddef.h>
#include "la_vector.h"

typedef double (*la_modes_float)(int, ptrdiff_t, float *, float *, const float *, const float *, const double *, const double *,
                                 const double *, double, double, float *, int, int);
typedef double (*la_modes_double)(int, ptrdiff_t, double *, double *, const double *, const double *, const double *, const double *,
                                  const double *, double, double, double *, int, int);

#define LA_BODY "la_modes.inc.h"
#include "la_each.h"

static la_modes_float la_modes_f(int level)
{
#ifdef LA_HAVE_TILES
    if (level == LA_AVX512)
        return la_f_v4_modes_step;
    if (level == LA_AVX2)
        return la_f_v3_modes_step;
#endif
    (void)level;
    return la_f_base_modes_step;
}

static la_modes_double la_modes_d(int level)
{
#ifdef LA_HAVE_TILES
    if (level == LA_AVX512)
        return la_d_v4_modes_step;
    if (level == LA_AVX2)
        return la_d_v3_modes_step;
#endif
    (void)level;
    return la_d_base_modes_step;
}

#endif
