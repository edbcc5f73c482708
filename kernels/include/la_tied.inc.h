/* Tied layers: from the entries of a matrix to its parameters and back. See la_each.h for T and FN(x). */

/* at += the signed sum of one run of G */
static inline void FN(tied_add)(const la_runs *r, int t, const T *restrict G, ptrdiff_t ld, T *restrict parameters)
{
    const T *line = G + r->row[t] * ld + r->column[t];
    const T sign = (T)r->sign[t];
    const int n = r->length[t];
    if (r->step[t] == 1) {
        T *at = parameters + r->parameter[t];
        for (int j = 0; j < n; j++)
            at[j] += sign * line[j];
    } else {
        T *at = parameters + r->parameter[t] - (n - 1);
        for (int j = 0; j < n; j++)
            at[j] += sign * line[n - 1 - j];
    }
}

/* The `size` parameters (cleared before) += signed sums of the entries of G that share them. Neighbouring rows meet the same
 * parameters one place on, and a vector that was just stored there is slow to load: so they take turns among a few copies. */
static void FN(tied_gather)(const la_runs *r, const T *restrict G, ptrdiff_t ld, T *restrict parameters, ptrdiff_t size)
{
    enum { COPIES = 4, ROOM = 512 };
    if (size > ROOM) {
        for (int t = 0; t < r->count; t++)
            FN(tied_add)(r, t, G, ld, parameters);
        return;
    }
    T copies[COPIES][ROOM];
    for (int c = 0; c < COPIES; c++)
        for (ptrdiff_t k = 0; k < size; k++)
            copies[c][k] = 0;
    for (int t = 0; t < r->count; t++)
        FN(tied_add)(r, t, G, ld, copies[t % COPIES]);
    for (ptrdiff_t k = 0; k < size; k++)
        parameters[k] += (copies[0][k] + copies[1][k]) + (copies[2][k] + copies[3][k]);
}

/* the entries of W in runs first to last - 1, but for those that are zero by structure */
static void FN(tied_spread)(const la_runs *r, int first, int last, const T *restrict parameters, T *restrict W, ptrdiff_t ld)
{
    for (int t = first; t < last; t++) {
        T *line = W + r->row[t] * ld + r->column[t];
        const T sign = (T)r->sign[t];
        const int n = r->length[t];
        if (r->step[t] == 1) {
            const T *at = parameters + r->parameter[t];
            for (int j = 0; j < n; j++)
                line[j] = sign * at[j];
        } else {
            const T *at = parameters + r->parameter[t] - (n - 1);
            for (int j = 0; j < n; j++)
                line[j] = sign * at[n - 1 - j];
        }
    }
}
