/* Update rules entry by entry: one table of functions an instruction set, never written. */
#ifndef LA_RULES_H
#define LA_RULES_H

#include <stddef.h>
#include "la_targets.h"
#include "la_vector.h"
#ifdef LA_HAVE_TILES
#include <immintrin.h>
#endif

#define LA_RULES_TABLE(T, NAME)                                                                                             \
    typedef struct {                                                                                                  \
        void (*sgd)(ptrdiff_t, T *, const T *, T *, const double *);                                                  \
        void (*adam)(ptrdiff_t, T *, const T *, T *, T *, const double *);                                            \
        void (*rmsprop)(ptrdiff_t, T *, const T *, T *, T *, T *, const double *);                                    \
        void (*adagrad)(ptrdiff_t, T *, const T *, T *, const double *);                                              \
        void (*sign)(ptrdiff_t, T *, const T *, T *, const double *);                                                 \
        void (*along)(ptrdiff_t, T *, const T *, T, T);                                                               \
        void (*mean)(ptrdiff_t, T *, const T *, T, T);                                                                \
        double (*squares)(ptrdiff_t, const T *, const double *);                                                      \
    } NAME;

LA_RULES_TABLE(float, la_rules_float)
LA_RULES_TABLE(double, la_rules_double)
#undef LA_RULES_TABLE

/* the functions of one instruction set, for both element types */
typedef struct {
    la_rules_float f;
    la_rules_double d;
} la_rules;

#define LA_BODY "la_rules.inc.h"
#include "la_each.h"

#define LA_RULES_FUNCTIONS(P) {P##sgd, P##adam, P##rmsprop, P##adagrad, P##sign, P##along, P##mean, P##squares}
static const la_rules la_rules_base = {LA_RULES_FUNCTIONS(la_f_base_), LA_RULES_FUNCTIONS(la_d_base_)};
#ifdef LA_HAVE_TILES
static const la_rules la_rules_avx2 = {LA_RULES_FUNCTIONS(la_f_v3_), LA_RULES_FUNCTIONS(la_d_v3_)};
static const la_rules la_rules_avx512 = {LA_RULES_FUNCTIONS(la_f_v4_), LA_RULES_FUNCTIONS(la_d_v4_)};
#endif
#undef LA_RULES_FUNCTIONS

static const la_rules *la_rules_of(int level)
{
#ifdef LA_HAVE_TILES
    if (level == LA_AVX512)
        return &la_rules_avx512;
    if (level == LA_AVX2)
        return &la_rules_avx2;
#endif
    (void)level;
    return &la_rules_base;
}

#endif
