/* A few threads that run one function together: each takes the next piece of work until none is left, then all meet. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#define PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define PAUSE() __asm__ volatile("yield")
#else
#define PAUSE() ((void)0)
#endif

enum {
    /* Tens of microseconds: phases seldom differ by more. Whoever waits longer sleeps, so that its core is free for the one
       it waits for, which another process may have pushed aside. */
    SPINS_AT_MEETING = 1000,
    /* A millisecond: long enough to catch the next decode step, short enough to idle cold. */
    SPINS_BETWEEN_JOBS = 20000,
};

typedef void (*work)(void *argument, int thread);

typedef struct {
    _Alignas(64) atomic_long next;
    _Alignas(64) atomic_int arrived;
    _Alignas(64) atomic_uint meetings;
    _Alignas(64) atomic_uint job;
    atomic_int sleeping;
    int threads;
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

/* Wait until a counter is no longer ``old``, and give what it is then. */
static unsigned await_change(pool *p, atomic_uint *counter, unsigned old, int spins) {
    unsigned now;
    for (; spins > 0; spins--) {
        if ((now = atomic_load_explicit(counter, memory_order_acquire)) != old) return now;
        PAUSE();
    }
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleeping, 1); /* before the counter is read again: advance() goes the other way round */
    while ((now = atomic_load(counter)) == old) pthread_cond_wait(&p->wake, &p->lock);
    atomic_fetch_sub(&p->sleeping, 1);
    pthread_mutex_unlock(&p->lock);
    return now;
}

static void advance(pool *p, atomic_uint *counter) {
    atomic_fetch_add(counter, 1);
    if (!atomic_load(&p->sleeping)) return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

/* End a phase: no thread goes on before all have come. */
static void meet(pool *p) {
    unsigned meeting = atomic_load_explicit(&p->meetings, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&p->arrived, 1, memory_order_acq_rel) < p->threads - 1) {
        await_change(p, &p->meetings, meeting, SPINS_AT_MEETING);
        return;
    }
    atomic_store_explicit(&p->arrived, 0, memory_order_relaxed);
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    advance(p, &p->meetings);
}

static void *serve(void *argument) {
    worker self = *(worker *)argument;
    free(argument);
    for (unsigned job = 0;;) {
        job = await_change(self.pool, &self.pool->job, job, SPINS_BETWEEN_JOBS);
        self.pool->function(self.pool->argument, self.thread);
        meet(self.pool);
    }
    return NULL;
}

/* Run a function on every thread of the pool, the caller's included. */
static void run(pool *p, work function, void *argument) {
    p->function = function;
    p->argument = argument;
    advance(p, &p->job);
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
