/* A few threads that run one function together: each takes the next piece of work until none is left. Nothing waits for a thread
   without a piece, so that a thread whose core is used by another process does not delay the others. */
#pragma once
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32 /* which has C11's atomics, but not its allocation */
#include <malloc.h>
#define aligned_alloc(alignment, size) _aligned_malloc(size, alignment)
#endif

#if defined(__x86_64__)
#define PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define PAUSE() __asm__ volatile("yield")
#else
#define PAUSE() ((void)0)
#endif

enum {
    /* Ten to forty microseconds: the jobs of a pass follow each other more closely. A thread that waits longer gives its core
       away, as another process may have taken the core of the thread that it waits for. */
    SPINS = 1000,
    INSIDE = (1 << 16) - 1, /* of a state: how many workers are working on the job */
    OPEN = 1 << 16,         /* workers may begin */
    JOB = 1 << 17,          /* the number of the job counts in these */
};

typedef void (*work)(void *argument, int thread);

typedef struct {
    _Alignas(64) atomic_long next;
    _Alignas(64) atomic_ulong state;
    _Alignas(64) atomic_uint passes; /* passes begun plus passes ended: the sum is odd during a pass */
    atomic_int sleeping, awaited;
    int threads;
    work function;
    void *argument;
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
} pool;

typedef struct {
    pool *pool;
    int thread;
} worker;

/* The next piece of work of this job. */
static long take(pool *p) { return atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed); }

/* Begin a pass, which is many jobs: wake the workers that sleep. */
static void begin(pool *p) {
    atomic_fetch_add(&p->passes, 1);
    if (!atomic_load(&p->sleeping)) return;
    pthread_mutex_lock(&p->lock);
    pthread_mutex_unlock(&p->lock); /* now every worker that counts as sleeping sleeps */
    pthread_cond_broadcast(&p->wake);
}

/* End it: workers may sleep. */
static void end(pool *p) { atomic_fetch_add(&p->passes, 1); }

static int is_between(unsigned passes) { return passes % 2 == 0; }

static void sleep_between_passes(pool *p) {
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleeping, 1); /* before the number is read again: begin() goes the other way round */
    while (is_between(atomic_load(&p->passes))) pthread_cond_wait(&p->wake, &p->lock);
    atomic_fetch_sub(&p->sleeping, 1);
    pthread_mutex_unlock(&p->lock);
}

/* Wait until there is a job that this worker has not seen, and take part in it; returns its number. In a pass, where the next
   job is near, a worker that has waited long gives its core to any other thread that wants it, but is not put to sleep: to
   wake it for each job would cost more than it does. */
static unsigned long enter(pool *p, unsigned long last) {
    for (;;) {
        for (int spins = SPINS; spins > 0; spins--) {
            unsigned long state = atomic_load_explicit(&p->state, memory_order_acquire);
            if (state & OPEN && state / JOB != last && atomic_compare_exchange_strong(&p->state, &state, state + 1)) return state / JOB;
            PAUSE();
        }
        if (is_between(atomic_load(&p->passes))) sleep_between_passes(p);
        else sched_yield();
    }
}

/* Wait until all workers have finished with the job, which is closed. */
static void await_others(pool *p) {
    for (int spins = SPINS; spins > 0; spins--) {
        if (!(atomic_load_explicit(&p->state, memory_order_acquire) & INSIDE)) return;
        PAUSE();
    }
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->awaited, 1);
    while (atomic_load(&p->state) & INSIDE) pthread_cond_wait(&p->done, &p->lock);
    atomic_store(&p->awaited, 0);
    pthread_mutex_unlock(&p->lock);
}

/* A worker takes part in a job while it is open. A worker that comes too late, because its core was busy, is not needed. */
static void *serve(void *argument) {
    worker self = *(worker *)argument;
    pool *p = self.pool;
    free(argument);
    for (unsigned long last = 0;;) {
        last = enter(p, last);
        p->function(p->argument, self.thread);
        if ((atomic_fetch_sub(&p->state, 1) & (OPEN | INSIDE)) != 1 || !atomic_load(&p->awaited)) continue;
        pthread_mutex_lock(&p->lock);
        pthread_cond_signal(&p->done);
        pthread_mutex_unlock(&p->lock);
    }
    return NULL;
}

/* Run a function on the caller's thread and on every worker that comes in time. It takes pieces of work until none is left;
   all of them are done afterwards. */
static void run(pool *p, work function, void *argument) {
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    if (p->threads == 1) {
        function(argument, 0);
        return;
    }
    p->function = function;
    p->argument = argument;
    atomic_store(&p->state, (atomic_load(&p->state) / JOB + 1) * JOB + OPEN); /* no worker is inside, and it was closed */
    function(argument, 0);
    if (atomic_fetch_and(&p->state, ~(unsigned long)OPEN) & INSIDE) await_others(p);
}

/* A pool lives as long as its process. It has fewer threads than requested if the system refuses more. NULL: no memory. */
pool *pellucid_pool(int threads) {
    pool *p = aligned_alloc(64, (sizeof(pool) + 63) / 64 * 64);
    if (!p) return NULL;
    memset(p, 0, sizeof *p);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->done, NULL);
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
