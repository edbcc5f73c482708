/* A team of threads that ThreadSanitizer understands, in place of libgomp's, whose barriers are invisible to it.
 *
 * Loaded before libgomp: a parallel region starts threads of its own and joins them, so that what orders two accesses is what the
 * kernels' source says orders them and nothing that a pool would add. Static schedules are computed by the compiler, which asks for the
 * two numbers below; the kernels have no other construct of OpenMP (with one, the build would not load). */
#include <pthread.h>
#include <stdlib.h>

typedef struct {
    void (*body)(void *);
    void *data;
    int number, size;
    pthread_barrier_t *barrier;
} member;

static __thread member self = {.size = 1};

static void *run(void *given)
{
    self = *(member *)given;
    self.body(self.data);
    return NULL;
}

void GOMP_parallel(void (*body)(void *), void *data, unsigned wanted, unsigned flags)
{
    int count = wanted ? (int)wanted : 1;
    member outer = self;
    pthread_barrier_t barrier;
    pthread_t *threads = malloc(count * sizeof *threads);
    member *members = malloc(count * sizeof *members);
    (void)flags;
    if (!threads || !members || pthread_barrier_init(&barrier, NULL, count))
        abort();
    for (int i = 0; i < count; i++)
        members[i] = (member){body, data, i, count, &barrier};
    for (int i = 1; i < count; i++)
        if (pthread_create(&threads[i], NULL, run, &members[i]))
            abort();
    run(&members[0]);
    for (int i = 1; i < count; i++)
        pthread_join(threads[i], NULL);
    self = outer;
    pthread_barrier_destroy(&barrier);
    free(members);
    free(threads);
}

void GOMP_barrier(void)
{
    if (self.barrier)
        pthread_barrier_wait(self.barrier);
}

int omp_get_thread_num(void)
{
    return self.number;
}

int omp_get_num_threads(void)
{
    return self.size;
}
