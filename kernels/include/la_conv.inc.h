/* Convolutions (cross-correlations) of one sample, for one element type and instruction set.
 *
 * Images are laid out flat with a margin: a row of every plane, of the input and of the gradient alike, has `pitch` elements,
 * so that the output at flat place t meets the input at t + a * pitch + b for tap (a, b), whatever t. What that computes
 * beyond the end of a row is left out when it is copied, and is zero where it would be summed.
 * Apply and adjoint are one correlation in whole vectors over all rows at once, the adjoint with the taps reversed and the channels
 * exchanged: 4 outputs by up to 4 vectors in registers. The gradient of the taps keeps up to 9 taps of 3 outputs there.
 * Steps of more than one pixel are taken by leaving out results, or by zeros between the rows and columns of the gradient. Circular
 * images have their own ends in the margin.
 * The includer defines T, V, LANES, WIDE and FN(x): see la_each.h.
 */

/* `channels` outputs by `vectors` vectors, summed over the inputs and the taps. */
static inline __attribute__((always_inline)) void FN(correlate_block)(
    const int channels, const int vectors, int c_in, int kh, int kw, const T *K, ptrdiff_t k_out, ptrdiff_t k_in, ptrdiff_t k_tap,
    const T *P, ptrdiff_t plane, ptrdiff_t pitch, T *O, ptrdiff_t out_plane)
{
    V acc[4][8];
#pragma GCC unroll 4
    for (int o = 0; o < channels; o++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            acc[o][v] = (V){0};
    for (int c = 0; c < c_in; c++)
        for (int a = 0; a < kh; a++) {
            const T *p = P + c * plane + a * pitch, *k = K + c * k_in + a * kw * k_tap;
            for (int b = 0; b < kw; b++, k += k_tap) {
#pragma GCC unroll 8
                for (int v = 0; v < vectors; v++) {
                    const V x = LOAD(p + b + v * LANES);
#pragma GCC unroll 4
                    for (int o = 0; o < channels; o++)
                        acc[o][v] += k[o * k_out] * x;
                }
            }
        }
#pragma GCC unroll 4
    for (int o = 0; o < channels; o++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            STORE(O + o * out_plane + v * LANES, acc[o][v]);
}

/* O[o][t] = sum_{c, a, b} K[o, c, a, b] P[c][t + a * pitch + b] for t < length, in whole vectors. Tap (o, c, j) stands at
 * K[o * k_out + c * k_in + j * k_tap]. */
static void FN(correlate)(int c_out, int c_in, int kh, int kw, const T *K, ptrdiff_t k_out, ptrdiff_t k_in, ptrdiff_t k_tap,
                          const T *P, ptrdiff_t plane, ptrdiff_t pitch, T *O, ptrdiff_t out_plane, ptrdiff_t length)
{
    const int vectors = (int)((length + LANES - 1) / LANES);
    int o = 0;
#define BLOCK(C, N) FN(correlate_block)(C, N, c_in, kh, kw, K + o * k_out, k_out, k_in, k_tap, P + t * LANES, plane, pitch, \
                                        O + o * out_plane + t * LANES, out_plane)
    for (; o + 4 <= c_out; o += 4) {
        int t = 0;
#if WIDE
        for (; t + 4 <= vectors; t += 4)
            BLOCK(4, 4);
#endif
        for (; t + 2 <= vectors; t += 2)
            BLOCK(4, 2);
        for (; t < vectors; t++)
            BLOCK(4, 1);
    }
    for (; o < c_out; o++) {
        int t = 0;
        for (; t + 8 <= vectors; t += 8)
            BLOCK(1, 8);
        for (; t + 4 <= vectors; t += 4)
            BLOCK(1, 4);
        for (; t < vectors; t++)
            BLOCK(1, 1);
    }
#undef BLOCK
}

/* `channels` outputs by `taps` places: G[o, j] += sum_t D[o][t] P[t + at[j]]. */
static inline __attribute__((always_inline)) void FN(taps_block)(
    const int channels, const int taps, int vectors, const T *D, ptrdiff_t d_plane, const T *P, const ptrdiff_t *at, T *G,
    ptrdiff_t g_out)
{
    V acc[3][9];
#pragma GCC unroll 3
    for (int o = 0; o < channels; o++)
#pragma GCC unroll 9
        for (int j = 0; j < taps; j++)
            acc[o][j] = (V){0};
    for (int t = 0; t < vectors; t++, D += LANES, P += LANES) {
        V d[3];
#pragma GCC unroll 3
        for (int o = 0; o < channels; o++)
            d[o] = LOAD(D + o * d_plane);
#pragma GCC unroll 9
        for (int j = 0; j < taps; j++) {
            const V x = LOAD(P + at[j]);
#pragma GCC unroll 3
            for (int o = 0; o < channels; o++)
                acc[o][j] += d[o] * x;
        }
    }
#pragma GCC unroll 3
    for (int o = 0; o < channels; o++)
#pragma GCC unroll 9
        for (int j = 0; j < taps; j++)
            G[o * g_out + j] += FN(sum)(acc[o][j]);
}

/* G[o, c, a, b] += sum_t D[o][t] P[c][t + a * pitch + b] for t < length, in whole vectors: D is zero beyond. */
static void FN(taps)(int c_out, int c_in, int kh, int kw, const T *D, ptrdiff_t d_plane, const T *P, ptrdiff_t plane,
                     ptrdiff_t pitch, T *G, ptrdiff_t length)
{
    const int vectors = (int)((length + LANES - 1) / LANES), count = kh * kw;
    const ptrdiff_t g_out = (ptrdiff_t)c_in * count;
    ptrdiff_t at[9];
    for (int j = 0; j < count;) {
        const int taps = count - j >= 9 ? 9 : count - j >= 3 ? 3 : 1;
        for (int i = 0; i < taps; i++)
            at[i] = (ptrdiff_t)((j + i) / kw) * pitch + (j + i) % kw;
#define BLOCK(C, N) FN(taps_block)(C, N, vectors, D + o * d_plane, d_plane, P + c * plane, at, G + o * g_out + c * count + j, g_out)
        for (int c = 0; c < c_in; c++) {
            int o = 0;
#if WIDE
            for (; o + 3 <= c_out; o += 3)
                switch (taps) {
                case 9: BLOCK(3, 9); break;
                case 3: BLOCK(3, 3); break;
                default: BLOCK(3, 1);
                }
#endif
            for (; o < c_out; o++)
                switch (taps) {
                case 9: BLOCK(1, 9); break;
                case 3: BLOCK(1, 3); break;
                default: BLOCK(1, 1);
                }
        }
#undef BLOCK
        j += taps;
    }
}

/* to[i] = from[i], in whole vectors where there is room for one; they do not overlap. */
static inline __attribute__((always_inline)) void FN(copy_line)(T *restrict to, const T *restrict from, int n)
{
    if (n < LANES) {
        for (int i = 0; i < n; i++)
            to[i] = from[i];
        return;
    }
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        V x = LOAD(from + i);
        LA_HOLD(x); /* not a call for a few vectors */
        STORE(to + i, x);
    }
    if (i < n) /* the last vector overlaps the one before */
        STORE(to + n - LANES, LOAD(from + n - LANES));
}

/* The input of one sample (c_in, h_in, w_in) with its margin. Needs `plane` zeroed once; only pixels are written, and the
 * margin of circular images. */
static void FN(conv_pack_input)(const la_conv *g, const T *x, T *P)
{
    for (int c = 0; c < g->c_in; c++)
        for (int y = 0; y < g->rows; y++) {
            int from = y - g->top;
            T *p = P + c * g->plane + y * g->pitch;
            if (g->circular)
                from = ((from % g->h_in) + g->h_in) % g->h_in;
            if (from < 0 || from >= g->h_in)
                continue;
            const T *line = x + ((ptrdiff_t)c * g->h_in + from) * g->w_in;
            const int end = g->columns - g->left < g->w_in ? g->columns - g->left : g->w_in;
            FN(copy_line)(p + g->left, line, end);
            if (g->circular) {
                for (int i = 0; i < g->left; i++)
                    p[i] = line[(((i - g->left) % g->w_in) + g->w_in) % g->w_in];
                for (int i = g->left + end; i < g->columns; i++)
                    p[i] = line[(i - g->left) % g->w_in];
            }
        }
}

/* The gradient of the output of one sample (c_out, h_out, w_out), spread by the strides, after kh - 1 empty rows and kw - 1
 * empty columns. Needs the planes zeroed once. */
static void FN(conv_pack_output)(const la_conv *g, const T *d, T *D)
{
    for (int o = 0; o < g->c_out; o++) {
        T *plane = D + o * g->d_plane + g->d_start;
        for (int y = 0; y < g->h_out; y++) {
            T *p = plane + (ptrdiff_t)y * g->sh * g->pitch;
            if (g->sw == 1)
                FN(copy_line)(p, d, g->w_out);
            else
                for (int i = 0; i < g->w_out; i++)
                    p[(ptrdiff_t)i * g->sw] = d[i];
            d += g->w_out;
        }
    }
}

#include "la_conv3.inc.h"

/* y (c_out, h_out, w_out) = K * x, for samples first..last. */
static void FN(conv_apply)(const la_conv *g, int first, int last, const T *K, const T *A, ptrdiff_t lda, T *out, ptrdiff_t ldout, T *work)
{
    if (FN(conv3)(g)) {
        FN(conv3_apply)(g, first, last, K, A, lda, out, ldout, work);
        return;
    }
    T *P = work, *O = work + g->p_room;
    const ptrdiff_t taps = (ptrdiff_t)g->kh * g->kw;
    for (int r = first; r < last; r++) {
        T *y = out + r * ldout;
        FN(conv_pack_input)(g, A + r * lda, P);
        if (g->sh == 1)
            FN(correlate)(g->c_out, g->c_in, g->kh, g->kw, K, g->c_in * taps, taps, 1, P, g->plane, g->pitch, O, g->o_plane, g->o_length);
        else
            for (int j = 0; j < g->h_out; j++) /* only the rows that are kept */
                FN(correlate)(g->c_out, g->c_in, g->kh, g->kw, K, g->c_in * taps, taps, 1, P + (ptrdiff_t)j * g->sh * g->pitch, g->plane,
                              g->pitch, O + (ptrdiff_t)j * g->sh * g->pitch, g->o_plane, (ptrdiff_t)(g->w_out - 1) * g->sw + 1);
        for (int o = 0; o < g->c_out; o++)
            for (int j = 0; j < g->h_out; j++, y += g->w_out) {
                const T *line = O + o * g->o_plane + (ptrdiff_t)j * g->sh * g->pitch;
                if (g->sw == 1)
                    FN(copy_line)(y, line, g->w_out);
                else
                    for (int i = 0; i < g->w_out; i++)
                        y[i] = line[(ptrdiff_t)i * g->sw];
            }
    }
}

/* The adjoint z (c_in, h_in, w_in) = K^T d unless out is NULL, and G += the gradient of the taps unless G is NULL, for samples
 * first..last. */
static void FN(conv_backward)(const la_conv *g, int first, int last, const T *K, const T *D, ptrdiff_t ldd, T *out, ptrdiff_t ldout,
                              const T *A, ptrdiff_t lda, T *G, T *work)
{
    if (FN(conv3)(g)) {
        FN(conv3_backward)(g, first, last, K, D, ldd, out, ldout, A, lda, G, work);
        return;
    }
    T *P = work, *O = work + g->p_room, *E = O + g->o_room;
    const ptrdiff_t taps = (ptrdiff_t)g->kh * g->kw;
    for (int r = first; r < last; r++) {
        FN(conv_pack_output)(g, D + r * ldd, E);
        if (G) {
            FN(conv_pack_input)(g, A + r * lda, P);
            FN(taps)(g->c_out, g->c_in, g->kh, g->kw, E + g->d_start, g->d_plane, P, g->plane, g->pitch, G, g->o_length);
        }
        if (!out)
            continue;
        /* the taps from the last to the first, and the channels exchanged; planes as large as the input with its margin */
        FN(correlate)(g->c_in, g->c_out, g->kh, g->kw, K + taps - 1, taps, g->c_in * taps, -1, E, g->d_plane, g->pitch, O, g->plane,
                      (ptrdiff_t)(g->rows - 1) * g->pitch + g->columns);
        T *z = out + r * ldout;
        const int end = g->columns - g->left < g->w_in ? g->columns - g->left : g->w_in;
        if (g->circular || end < g->w_in || g->rows - g->top < g->h_in)
            for (ptrdiff_t i = 0; i < (ptrdiff_t)g->c_in * g->h_in * g->w_in; i++)
                z[i] = 0;
        for (int c = 0; c < g->c_in; c++, z += (ptrdiff_t)g->h_in * g->w_in)
            for (int y = 0; y < g->rows; y++) {
                int to = y - g->top;
                const T *line = O + c * g->plane + y * g->pitch + g->left;
                if (g->circular)
                    to = ((to % g->h_in) + g->h_in) % g->h_in;
                if (to < 0 || to >= g->h_in)
                    continue;
                T *row = z + (ptrdiff_t)to * g->w_in;
                if (!g->circular) {
                    FN(copy_line)(row, line, end);
                    continue;
                }
                for (int i = 0; i < end; i++)
                    row[i] += line[i];
                for (int i = -g->left; i < 0; i++)
                    row[((i % g->w_in) + g->w_in) % g->w_in] += line[i];
                for (int i = end; i < g->columns - g->left; i++)
                    row[i % g->w_in] += line[i];
            }
    }
}
