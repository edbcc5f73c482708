/* The step of all modes: one function an element type, for the best instruction set at import. */
#ifndef LA_MODES_H
#define LA_MODES_H

#include <stddef.h>
#include "la_targets.h"

typedef double (*la_modes_float)(int, ptrdiff_t, float *, float *, const float *, const float *, const double *, const double *,
                                 const double *, double, double, float *, int, int);
typedef double (*la_modes_double)(int, ptrdiff_t, double *, double *, const double *, const double *, const double *, const double *,
                                  const double *, double, double, double *, int, int);

/* baseline: 16-byte vectors, which every 64-bit processor has */
typedef float la_f4 __attribute__((vector_size(16)));
typedef double la_d2 __attribute__((vector_size(16)));
#define T float
#define V la_f4
#define LANES 4
#define FN(x) la_f_base_##x
#include "la_modes.inc.h"
#define T double
#define V la_d2
#define LANES 2
#define FN(x) la_d_base_##x
#include "la_modes.inc.h"

#ifdef LA_HAVE_TILES
LA_PUSH_V3
#define T float
#define V la_f8
#define LANES 8
#define FN(x) la_f_v3_##x
#include "la_modes.inc.h"
#define T double
#define V la_d4
#define LANES 4
#define FN(x) la_d_v3_##x
#include "la_modes.inc.h"
LA_POP
LA_PUSH_V4
#define T float
#define V la_f16
#define LANES 16
#define FN(x) la_f_v4_##x
#include "la_modes.inc.h"
#define T double
#define V la_d8
#define LANES 8
#define FN(x) la_d_v4_##x
#include "la_modes.inc.h"
LA_POP
#endif

static la_modes_float la_modes_f(int level)
{
#ifdef LA_HAVE_TILES
    if (level == 4)
        return la_f_v4_modes_step;
    if (level == 3)
        return la_f_v3_modes_step;
#endif
    (void)level;
    return la_f_base_modes_step;
}

static la_modes_double la_modes_d(int level)
{
#ifdef LA_HAVE_TILES
    if (level == 4)
        return la_d_v4_modes_step;
    if (level == 3)
        return la_d_v3_modes_step;
#endif
    (void)level;
    return la_d_base_modes_step;
}

#endif
