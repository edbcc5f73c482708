/* Chains that see one row a step: one function an element type, and instruction set. */
#ifndef LA_ROW_H
#define LA_ROW_H

#include "la_tile.h"

typedef struct {
    int diagonal;            /* W = diag(theta); else theta is W (n_out, n_in) in rows of ld */
    int n_in, n_out, ld;
    void *theta;
} la_row_layer;

/* All rows, of matrices too, are zero beyond their columns up to whole lines of 64 bytes. */
typedef struct {
    int depth;
    la_row_layer *layers;    /* layers[i] is W_{i+1} */
    void **A;                /* A_i, i = 1 .. d: the row behind layer i */
    void *D[2];              /* gradients in them, in turns */
    const void *X, *Y;       /* all rows, and their targets */
    ptrdiff_t ldx, ldy;
    const ptrdiff_t *rows;   /* which row each step sees */
    const double *rates;     /* (steps, depth); NULL where they stay as in lr */
    double *lr, *decay;
    double factor;
} la_row;

typedef long (*la_row_train)(const la_row *, long, double *, double, double);

#ifdef LA_HAVE_TILES
#define LA_BODY "la_row.inc.h"
#define LA_NO_BASE
#include "la_each.h"
#endif

/* NULL where there is none. */
static la_row_train la_row_train_of(int level, int single)
{
#ifdef LA_HAVE_TILES
    if (level == LA_AVX512)
        return single ? la_f_v4_row : la_d_v4_row;
    if (level == LA_AVX2)
        return single ? la_f_v3_row : la_d_v3_row;
#endif
    (void)level;
    (void)single;
    return NULL;
}

#endif
