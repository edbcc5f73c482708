/* How many threads share a parallel region.
 *
 * The child of a fork has none of the threads that OpenMP had started, and a team there would wait for them for ever. So the child
 * of a process that had started some goes through all parts of a region by itself, also in a run that began before the fork. */
#ifndef LA_TEAM_H
#define LA_TEAM_H

#if defined(_OPENMP) && !defined(_WIN32)
#include <pthread.h>

static int la_team_started, la_team_lost;

static void la_team_forked(void)
{
    la_team_lost = __atomic_load_n(&la_team_started, __ATOMIC_RELAXED);
}

/* Once, before any team; 0, or why not. */
static int la_team_watch(void)
{
    return pthread_atfork(NULL, NULL, la_team_forked);
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
