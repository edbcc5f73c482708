/* How many threads share a parallel region.
 *
 * The child of a fork has none of the threads that OpenMP had started, for this code or for another library, and a team there would
 * wait for them for ever. So whoever forks ends its idle threads first; the next region starts others, in parent and child. Where
 * that cannot be done, a child of a process that had started some goes through all parts of a region by itself. Either holds in a
 * run that began before the fork, too. */
#ifndef LA_TEAM_H
#define LA_TEAM_H

#if defined(_OPENMP) && !defined(_WIN32)
#include <omp.h>
#include <pthread.h>

static int la_team_started, la_team_kept, la_team_lost;

static void la_team_before_fork(void)
{
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 9
    la_team_kept = omp_pause_resource_all(omp_pause_soft) != 0;
#else
    la_team_kept = 1;
#endif
}

static void la_team_in_child(void)
{
    la_team_lost |= la_team_kept && __atomic_load_n(&la_team_started, __ATOMIC_RELAXED);
}

/* Once, before any team; 0, or why not. */
static int la_team_watch(void)
{
    return pthread_atfork(la_team_before_fork, NULL, la_team_in_child);
}

static inline int la_team(int wanted)
{
    if (la_team_lost)
        return 1;
    if (wanted > 1 && !__atomic_load_n(&la_team_started, __ATOMIC_RELAXED))
        __atomic_store_n(&la_team_started, 1, __ATOMIC_RELAXED);
    return wanted;
}
#else
static int la_team_watch(void)
{
    return 0;
}

static inline int la_team(int wanted)
{
    return wanted;
}
#endif

#endif
