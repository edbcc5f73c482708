/* Chains that fit in registers: one function an element type, and instruction set. */
#ifndef LA_CHAIN_H
#define LA_CHAIN_H

#include "la_tile.h"

/* All matrices are in rows of 64 bytes, zero beyond their columns, with room for as many rows as fit in one; layers count from 1. */
typedef struct {
    int depth, rows, diagonal;
    int turned;              /* the network is transposed, from its outputs to its inputs: what is given are the R_i */
    const int *widths;       /* k_0 .. k_d */
    void **W;                /* W_i (k_i, k_{i-1}); of those that are given, W or R, their own rows only */
    void **R;                /* W_i^T */
    void **A;                /* A_i (rows, k_i) */
    void *D[2];              /* gradients of A_i, in turns; free between calls */
    const void *X;           /* (rows, k_0), or its diagonal, or NULL for the identity */
    const void *Y;           /* (rows, k_d) */
    const void *scale;       /* x (k_d) if the outputs are A_d diag(x), or NULL */
    const double *lr, *decay;
    double factor;
    /* a rule that sees all gradients first: they go to G, each as the layer that is given; NULL for plain descent */
    void **G;
    void (*use)(void *, long);
    void *owner;
    long begin;              /* which of the steps that `use` was told of comes first */
} la_chain;

typedef long (*la_train)(const la_chain *, long, double *, double, double);

#ifdef LA_HAVE_TILES
#define LA_BODY "la_chain.inc.h"
#define LA_NO_BASE
#include "la_each.h"
#endif

/* NULL where there is none. */
static la_train la_chain_train(int level, int single)
{
#ifdef LA_HAVE_TILES
    if (level == LA_AVX512)
        return single ? la_f_v4_chain : la_d_v4_chain;
    if (level == LA_AVX2)
        return single ? la_f_v3_chain : la_d_v3_chain;
#endif
    (void)level;
    (void)single;
    return NULL;
}

#endif
