/* Networks of the same shapes side by side, one a lane of the vectors: the whole training of as many as there are. */
#ifndef LA_LANES_H
#define LA_LANES_H

#include <math.h>
#include <stddef.h>
#include <string.h>
#include "la_vector.h"
#ifdef LA_HAVE_TILES
#include <immintrin.h>
#endif

/* lanes of the longest vector of the smaller type, layers, and arrays that a rule remembers at most */
enum { LA_MOST_LANES = 16, LA_MOST_DEPTH = 64, LA_MOST_SLOTS = 3 };

/* Where the data are: nowhere, before the first layer, behind the last one, behind it as a diagonal, or before the first layer, a batch
 * of them at a step. */
enum { LA_NOWHERE = 0, LA_FIRST = 1, LA_BEHIND = 2, LA_DIAGONAL = 3, LA_BATCHES = 4 };

/* The update rules, known to Python by `_lanes.LAWS`. */
enum { LA_DESCEND = 0, LA_HEAVY_BALL = 1, LA_MOMENTUM = 2, LA_ADAM = 3, LA_RMSPROP = 4, LA_ADAGRAD = 5, LA_SIGN = 6 };

/* The losses, numbered as in types.pxd. */
enum { LA_SQUARED = 0, LA_LOGISTIC = 1, LA_CROSS_ENTROPY = 3 };

/* How a run ended, numbered as in types.pxd. */
enum { LA_RUNNING = 0, LA_CONVERGED = 1, LA_DIVERGED = 2 };

/* Layers count from 1, from the end where the identity, or the data, enter: `turned`, from the outputs, where M_i is W_{d+1-i}^T.
 * A matrix of vectors is row-major: element (i, j) of every lane side by side. */
typedef struct {
    int depth, rows, samples, place, turned, loss, law;
    int carried;               /* last rows of every layer but the last that never move: 1 where a constant coordinate is handed on */
    const int *widths;         /* k_0 .. k_d in that order */
    /* scalars, the same for all: X (samples, inputs), or its diagonal; Y (samples, outputs), or (rows, k_d) where the last product meets it */
    const void *X, *Y;
    double factor, floor;
    double numbers[4];         /* of the rule, as `Rule.compiled` has them; the momentum of SGD differs from lane to lane */
    int slots;                 /* arrays that it remembers, which begin as `initial` */
    double initial;
    /* the networks: `count` of them, `size` parameters each; in the order and the layout of their own layers */
    long count, size;
    void *params;              /* (count, size): the start, and in its place the end */
    const double *lr, *decay;  /* (count, depth), in the order of the network */
    /* where rates change from step to step: those of network j are lines of table[j] of (tables, scheduled, depth); else NULL */
    const double *schedule;
    const long long *table;
    long scheduled;
    /* where a step sees a batch: that of network j at step t is line t of table drawn[j] of (tables, lines, rows), of which it takes the first `counts`,
     * by the factor of so many; else NULL */
    const int *order, *counts;
    const long long *drawn;
    long lines;
    const double *factors;
    const double *momentum, *tol; /* (count,) */
    const long long *limit;    /* steps to take at most */
    double *value, *before;    /* the last loss, and the one before it */
    long long *steps;          /* steps taken: the step at which `value` is the loss */
    int *status;
    void *kept_slots[LA_MOST_SLOTS]; /* (count, size) each: what the law remembers at the end; or NULL */
    /* what is kept on the way: networks and losses before the steps `at`, which ascend; `taken` of them */
    long records;
    const long long *at;
    void *kept;                /* (count, records, size) */
    double *kept_value;        /* (count, records) */
    int *taken;
    double *losses;            /* (count, row) before every step, or NULL */
    long row;
    /* where it stands */
    long next;                 /* the next network to be taken in */
    int alive;                 /* lanes that have one */
    long who[LA_MOST_LANES];   /* the network of a lane; -1 for none */
    long long done[LA_MOST_LANES];
    double last[LA_MOST_LANES];
    double power_1[LA_MOST_LANES], power_2[LA_MOST_LANES]; /* beta^t of the step to come */
    double seen[LA_MOST_LANES], weight[LA_MOST_LANES]; /* rows of the batch of a lane, and their factor */
    void **M, **A, **slot[LA_MOST_SLOTS]; /* matrices of vectors */
    void *D[2], *F, *G;
    void *rates;               /* (depth, 4) vectors: minus the rate, what decay keeps, decay, momentum */
} la_lanes;

typedef long (*la_run_lanes)(la_lanes *, long);

#ifdef LA_HAVE_TILES
#define LA_BODY "la_lanes.inc.h"
#define LA_NO_BASE
#include "la_each.h"
#endif

/* NULL where there is none. */
static la_run_lanes la_lanes_run(int level, int single)
{
#ifdef LA_HAVE_TILES
    if (level == LA_AVX512)
        return single ? la_f_v4_lanes : la_d_v4_lanes;
    if (level == LA_AVX2)
        return single ? la_f_v3_lanes : la_d_v3_lanes;
#endif
    (void)level;
    (void)single;
    return NULL;
}

#endif
