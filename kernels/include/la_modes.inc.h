/* Scalar dynamics of the modes of an aligned network (docs/theory, section 4), for one element type and instruction set.
 *
 * Mode j has one scalar a layer, sigma[i][j], product p_j, and loss factor * (x_j p_j - y_j)^2. Modes are independent, so
 * they lie side by side in vectors; rows are padded to whole vectors with x = y = sigma = 0, which stays zero.
 * The includer defines T, V, LANES and FN(x): see la_each.h.
 */

/* One step of every mode; returns sum_j weight_j (x_j p_j - y_j)^2 before it. `prefix` has room for depth + 1 rows.
 * Products are gathered upward first, p_i = sigma_1 .. sigma_i, then downward with the gradient. */
static double FN(modes_step)(int depth, ptrdiff_t stride, T *sigma, T *velocity, const T *x, const T *y, const double *weight,
                             const double *lr, const double *decay, double momentum, double factor, T *prefix, int cyclic, int look)
{
    double part[LANES] = {0}, total = 0;
    for (ptrdiff_t j = 0; j < stride; j += LANES) {
        V p = (V){0} + (T)1;
        for (int i = 0; i < depth; i++) {
            STORE(prefix + i * stride + j, p);
            p = p * LOAD(sigma + i * stride + j);
        }
        const V vx = LOAD(x + j), vy = LOAD(y + j);
        V r = vx * p - vy;
        for (int l = 0; l < LANES; l++)
            part[l] += weight[j + l] * (double)r[l] * (double)r[l];
        if (look)
            continue;
        if (!cyclic) {
            V g = (T)(2 * factor) * vx * r; /* the gradient in p, then in the product of the layers below */
            for (int i = depth - 1; i >= 0; i--) {
                const V s = LOAD(sigma + i * stride + j);
                V step = g * LOAD(prefix + i * stride + j) + (T)decay[i] * s;
                if (velocity) {
                    step += (T)momentum * LOAD(velocity + i * stride + j);
                    STORE(velocity + i * stride + j, step);
                }
                STORE(sigma + i * stride + j, s - (T)lr[i] * step);
                g = g * s;
            }
        } else {
            V suffix = (V){0} + (T)1;
            for (int i = depth - 1; i >= 0; i--) { /* sigma_{i+2} .. sigma_d over the row of its prefix */
                STORE(prefix + i * stride + j, suffix);
                suffix = suffix * LOAD(sigma + i * stride + j);
            }
            V below = (V){0} + (T)1;
            for (int i = 0; i < depth; i++) {
                const V s = LOAD(sigma + i * stride + j), rest = below * LOAD(prefix + i * stride + j);
                r = vx * (s * rest) - vy;
                V step = (T)(2 * factor) * vx * r * rest + (T)decay[i] * s;
                if (velocity) {
                    step += (T)momentum * LOAD(velocity + i * stride + j);
                    STORE(velocity + i * stride + j, step);
                }
                const V next = s - (T)lr[i] * step;
                STORE(sigma + i * stride + j, next);
                below = below * next;
            }
        }
    }
    for (int l = 0; l < LANES; l++)
        total += part[l];
    return total;
}
