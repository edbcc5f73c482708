/* Tied layers: from the entries of a matrix to its parameters and back. See la_each.h for T and FN(x). */

/* parameters (cleared before) += signed sums of the entries of G that share them */
static void FN(tied_gather)(const la_runs *r, const T *restrict G, ptrdiff_t ld, T *restrict parameters)
{
    for (int t = 0; t < r->count; t++) {
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
}

/* the entries of W, but for those that are zero by structure */
static void FN(tied_spread)(const la_runs *r, const T *restrict parameters, T *restrict W, ptrdiff_t ld)
{
    for (int t = 0; t < r->count; t++) {
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
