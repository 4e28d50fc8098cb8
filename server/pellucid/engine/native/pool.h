/* A few threads that run one function together: each takes the next piece of work until none is left, then all meet. */
#pragma once
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#if defined(__x86_64__)
#define PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define PAUSE() __asm__ volatile("yield")
#else
#define PAUSE() ((void)0)
#endif

enum {
    SPINS_BEFORE_YIELD = 4000,  /* about 50 microseconds at a meeting: another process may hold the core we wait for */
    SPINS_BEFORE_SLEEP = 20000, /* between jobs: long enough to catch the next decode step, short enough to idle cold */
};

typedef void (*work)(void *argument, int thread);

typedef struct {
    _Alignas(64) atomic_long next;
    _Alignas(64) atomic_int arrived;
    _Alignas(64) atomic_uint meetings;
    _Alignas(64) atomic_uint job;
    int threads;
    int sleeping;
    work function;
    void *argument;
    pthread_mutex_t lock;
    pthread_cond_t wake;
} pool;

typedef struct {
    pool *pool;
    int thread;
} worker;

/* The next piece of work of this phase; phases end with meet(). */
static long take(pool *p) { return atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed); }

static void meet(pool *p) {
    unsigned meeting = atomic_load_explicit(&p->meetings, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&p->arrived, 1, memory_order_acq_rel) == p->threads - 1) {
        atomic_store_explicit(&p->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&p->next, 0, memory_order_relaxed);
        atomic_store_explicit(&p->meetings, meeting + 1, memory_order_release);
        return;
    }
    for (int spins = 0; atomic_load_explicit(&p->meetings, memory_order_acquire) == meeting; spins++)
        if (spins < SPINS_BEFORE_YIELD) PAUSE();
        else sched_yield();
}

static unsigned next_job(pool *p, unsigned done) {
    unsigned job;
    for (int spins = 0; spins < SPINS_BEFORE_SLEEP; spins++) {
        if ((job = atomic_load_explicit(&p->job, memory_order_acquire)) != done) return job;
        PAUSE();
    }
    pthread_mutex_lock(&p->lock);
    p->sleeping++;
    while ((job = atomic_load_explicit(&p->job, memory_order_acquire)) == done) pthread_cond_wait(&p->wake, &p->lock);
    p->sleeping--;
    pthread_mutex_unlock(&p->lock);
    return job;
}

static void *serve(void *argument) {
    worker self = *(worker *)argument;
    free(argument);
    for (unsigned job = 0;;) {
        job = next_job(self.pool, job);
        self.pool->function(self.pool->argument, self.thread);
        meet(self.pool);
    }
    return NULL;
}

/* Run a function on every thread of the pool, the caller's included. */
static void run(pool *p, work function, void *argument) {
    p->function = function;
    p->argument = argument;
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add_explicit(&p->job, 1, memory_order_release);
    if (p->sleeping) pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    function(argument, 0);
    meet(p);
}

/* A pool lives as long as its process. It has fewer threads than asked for where the system refuses more; NULL: no memory. */
pool *pellucid_pool(int threads) {
    pool *p = aligned_alloc(64, (sizeof(pool) + 63) / 64 * 64);
    if (!p) return NULL;
    memset(p, 0, sizeof *p);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    for (p->threads = 1; p->threads < threads; p->threads++) {
        worker *w = malloc(sizeof *w);
        pthread_t id;
        if (!w) break;
        *w = (worker){p, p->threads};
        if (pthread_create(&id, NULL, serve, w)) {
            free(w);
            break;
        }
        pthread_detach(id);
    }
    return p;
}
