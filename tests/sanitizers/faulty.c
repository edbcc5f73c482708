/* Faults that the sanitizers are to report, so that their silence about the kernels says something. */
#include <stdlib.h>

static int shared;

int beyond_the_end(int n)
{
    volatile char *piece = aligned_alloc(64, 64);
    int found = piece[n];
    free((void *)piece);
    return found;
}

int overflow(int n)
{
    return n + 2147483647;
}

int leak(int n)
{
    volatile char *volatile piece = malloc(n);
    piece[0] = 1;
    piece = NULL;
    return 0;
}

int race(int n)
{
#pragma omp parallel for num_threads(2) schedule(static)
    for (int i = 0; i < n; i++)
        shared += i;
    return shared;
}

int no_race(int n)
{
    int parts[2] = {0, 0};
#pragma omp parallel for num_threads(2) schedule(static)
    for (int p = 0; p < 2; p++)
        for (int i = p; i < n; i += 2)
            parts[p] += i;
    return parts[0] + parts[1];
}
