/* Convolutions, sparse products and tied layers: one table of functions an instruction set, never written. */
#ifndef LA_STRUCTURED_H
#define LA_STRUCTURED_H

#include <stddef.h>
#include "la_share.h"
#include "la_team.h"
#include "la_vector.h"

/* rows of a panel of sparse products, at most */
#define LA_PANEL 32

/* The geometry of a convolution, in pixels, and how its scratch memory is laid out, in elements. */
typedef struct {
    int c_in, h_in, w_in, c_out, h_out, w_out, kh, kw, sh, sw, top, left, circular;
    int rows, columns;              /* of the input that the taps meet, with the margin */
    ptrdiff_t pitch;                /* from row to row of every plane */
    ptrdiff_t plane, p_room;        /* a plane of the input; all of them */
    ptrdiff_t o_plane, o_length, o_room;
    ptrdiff_t d_plane, d_start, d_room;
    int three;                      /* whether la_conv3.inc.h serves it, where images are wide enough; then */
    ptrdiff_t pitch3, p_plane3, d_plane3, o_start3, l_start3;
} la_conv;

/* The layout; returns the room that one thread needs. `line`: elements of the longest vector. */
static ptrdiff_t la_conv_layout(la_conv *g, int line)
{
    const ptrdiff_t slack = 16;
    g->rows = (g->h_out - 1) * g->sh + g->kh;
    g->columns = (g->w_out - 1) * g->sw + g->kw;
    g->pitch = g->columns + g->kw - 1;
    g->plane = g->rows * g->pitch + slack;
    g->p_room = g->c_in * g->plane + slack;
    g->o_length = (ptrdiff_t)(g->h_out - 1) * g->sh * g->pitch + (ptrdiff_t)(g->w_out - 1) * g->sw + 1;
    g->o_plane = g->o_length + slack;
    g->o_room = (g->c_out * g->o_plane > g->c_in * g->plane ? g->c_out * g->o_plane : g->c_in * g->plane) + slack;
    g->d_start = (ptrdiff_t)(g->kh - 1) * g->pitch + g->kw - 1;
    g->d_plane = (ptrdiff_t)(g->rows + g->kh - 1) * g->pitch + slack;
    g->d_room = g->c_out * g->d_plane + slack;
    ptrdiff_t room = g->p_room + g->o_room + g->d_room;
    g->three = g->kh == 3 && g->kw == 3 && g->sh == 1 && g->sw == 1 && !g->circular && g->top <= 2 && g->left <= 2 &&
               g->h_in + g->top <= g->rows && g->w_in + g->left <= g->columns;
    if (g->three) {
        /* one gap between rows: of the input, `left` and what is right of it; of the gradient, 2 - left, left, and whole vectors */
        const ptrdiff_t input = g->columns - g->left > g->w_in + g->left ? g->columns - g->left : g->w_in + g->left;
        const ptrdiff_t whole = g->w_out + 2 > input ? g->w_out + 2 : input;
        g->pitch3 = (whole + line - 1) / line * line;
        g->p_plane3 = g->rows * g->pitch3 + 2 * line;
        g->d_plane3 = (g->h_out + 4) * g->pitch3 + 2 * line;
        g->o_start3 = g->c_in * g->p_plane3 + g->c_out * g->d_plane3 + 2 * line;
        g->l_start3 = g->o_start3 + 3 * (g->h_in > g->h_out ? g->h_in : g->h_out) * g->pitch3;
        const ptrdiff_t room3 = g->l_start3 + (ptrdiff_t)g->c_out * g->c_in * 9 * line;
        room = room > room3 ? room : room3;
    }
    return (room + line - 1) / line * line;
}

/* A matrix as runs along its rows, whose parameters are consecutive, up (step 1) or down (step -1). */
typedef struct {
    int count;
    const int *row, *column, *length, *parameter, *step, *sign;
} la_runs;

#define LA_STRUCTURED(T, NAME)                                                                                                   \
    typedef struct {                                                                                                             \
        void (*conv_apply)(const la_conv *, int, int, const T *, const T *, ptrdiff_t, T *, ptrdiff_t, T *);                     \
        void (*conv_backward)(const la_conv *, int, int, const T *, const T *, ptrdiff_t, T *, ptrdiff_t, const T *, ptrdiff_t,  \
                              T *, T *);                                                                                         \
        void (*sparse_product)(int, int, const int *, const int *, const int *, const T *, int, const T *, ptrdiff_t, T *,       \
                               ptrdiff_t, T *);                                                                                  \
        void (*sparse_grad)(int, int, const int *, const int *, int, const T *, ptrdiff_t, const T *, ptrdiff_t, T *, T *);      \
        void (*tied_gather)(const la_runs *, const T *, ptrdiff_t, T *, ptrdiff_t);                                              \
        void (*tied_spread)(const la_runs *, int, int, const T *, T *, ptrdiff_t);                                               \
    } NAME;

LA_STRUCTURED(float, la_structured_float)
LA_STRUCTURED(double, la_structured_double)

#define LA_BODY "la_conv.inc.h"
#include "la_each.h"
#define LA_BODY "la_sparse.inc.h"
#include "la_each.h"
#define LA_BODY "la_tied.inc.h"
#include "la_each.h"

/* the functions of one instruction set, for both element types */
typedef struct {
    la_structured_float f;
    la_structured_double d;
} la_structured;

#define LA_FUNCTIONS(P) {P##conv_apply, P##conv_backward, P##sparse_product, P##sparse_grad, P##tied_gather, P##tied_spread}
static const la_structured la_structured_base = {LA_FUNCTIONS(la_f_base_), LA_FUNCTIONS(la_d_base_)};
#ifdef LA_HAVE_TILES
static const la_structured la_structured_avx2 = {LA_FUNCTIONS(la_f_v3_), LA_FUNCTIONS(la_d_v3_)};
static const la_structured la_structured_avx512 = {LA_FUNCTIONS(la_f_v4_), LA_FUNCTIONS(la_d_v4_)};
#endif
#undef LA_FUNCTIONS

static const la_structured *la_structured_of(int level)
{
#ifdef LA_HAVE_TILES
    if (level == LA_AVX512)
        return &la_structured_avx512;
    if (level == LA_AVX2)
        return &la_structured_avx2;
#endif
    (void)level;
    return &la_structured_base;
}

/* All samples of a convolution, shared out among threads. */
#define LA_CONV(T, NAME, WHICH)                                                                                                  \
    static void NAME##_apply(const la_structured *functions, const la_conv *g, int threads, int s, const T *K, const T *A,       \
                             ptrdiff_t lda, T *out, ptrdiff_t ldout, T *work, ptrdiff_t room)                                    \
    {                                                                                                                            \
        if (threads == 1) {                                                                                                      \
            functions->WHICH.conv_apply(g, 0, s, K, A, lda, out, ldout, work);                                                   \
            return;                                                                                                              \
        }                                                                                                                        \
        _Pragma("omp parallel for num_threads(la_team(threads)) schedule(static)")                                               \
        for (int p = 0; p < threads; p++)                                                                                        \
            functions->WHICH.conv_apply(g, la_share(s, p, threads), la_share(s, p + 1, threads), K, A, lda, out, ldout,          \
                                        work + p * room);                                                                        \
    }                                                                                                                            \
    /* G (threads, size) has one gradient a thread; the sum is left in the first */                                              \
    static void NAME##_backward(const la_structured *functions, const la_conv *g, int threads, int s, const T *K, const T *D,    \
                                ptrdiff_t ldd, T *out, ptrdiff_t ldout, const T *A, ptrdiff_t lda, T *G, ptrdiff_t size, T *work,\
                                ptrdiff_t room)                                                                                  \
    {                                                                                                                            \
        if (threads == 1) {                                                                                                      \
            for (ptrdiff_t i = 0; G && i < size; i++)                                                                            \
                G[i] = 0;                                                                                                        \
            functions->WHICH.conv_backward(g, 0, s, K, D, ldd, out, ldout, A, lda, G, work);                                     \
            return;                                                                                                              \
        }                                                                                                                        \
        _Pragma("omp parallel for num_threads(la_team(threads)) schedule(static)")                                               \
        for (int p = 0; p < threads; p++) {                                                                                      \
            T *own = G ? G + p * size : NULL;                                                                                    \
            for (ptrdiff_t i = 0; own && i < size; i++)                                                                          \
                own[i] = 0;                                                                                                      \
            functions->WHICH.conv_backward(g, la_share(s, p, threads), la_share(s, p + 1, threads), K, D, ldd, out, ldout, A,    \
                                           lda, own, work + p * room);                                                           \
        }                                                                                                                        \
        for (int p = 1; G && p < threads; p++)                                                                                   \
            for (ptrdiff_t i = 0; i < size; i++)                                                                                 \
                G[i] += G[p * size + i];                                                                                         \
    }

LA_CONV(float, la_conv_f, f)
LA_CONV(double, la_conv_d, d)

#endif
