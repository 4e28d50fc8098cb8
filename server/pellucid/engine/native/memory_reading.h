/* Reads memory and does nothing else, to measure how fast weights can be read at most. */
#pragma once
#include "thread_pool.h"
#include "weights.h"

enum { LINE = 64, LINES = 4 /* that are read in turn, of one stream or of several */ };

/* Memory of one thread, which writes it first, so that it is near that thread's processor. */
typedef struct {
    uint8_t *memory;
    int64_t bytes; /* whole lines for each of the most streams */
    int64_t sum;   /* of its numbers of 32 bits, which wraps */
    atomic_llong taken;
} share;

typedef struct {
    share *share;
    int64_t shares, streams, ahead; /* no streams: write */
} reading;

/* The sum of some memory, read in so many streams at once, each in order. ``ahead`` are the bytes by which a line is fetched
   before it is read: 0 leaves that to the processor. Beyond the end nothing is fetched, and nothing fails. */
INLINE int64_t sum_streams(const uint8_t *memory, int64_t bytes, int64_t ahead, const int streams) {
    enum { VECTORS_OF_LINE = LINE / sizeof(vi) };
    int64_t each = bytes / streams;
    vi sum[LINES][VECTORS_OF_LINE] = {0};
    for (int64_t i = 0; i < each; i += LINES / streams * LINE)
#pragma GCC unroll 4
        for (int line = 0; line < LINES; line++) {
            const uint8_t *at = memory + line % streams * each + i + line / streams * LINE;
            if (ahead) __builtin_prefetch(at + ahead, 0, 3);
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS_OF_LINE; v++) sum[line][v] += load_int(at + v * sizeof(vi));
        }
    uint32_t all = 0;
    for (int line = 0; line < LINES; line++)
        for (int v = 0; v < VECTORS_OF_LINE; v++) all += (uint32_t)sum_lanes_int(sum[line][v]);
    return all;
}

static int64_t sum_share(const share *s, int64_t streams, int64_t ahead) {
    switch (streams) {
    case 1: return sum_streams(s->memory, s->bytes, ahead, 1);
    case 2: return sum_streams(s->memory, s->bytes, ahead, 2);
    default: return sum_streams(s->memory, s->bytes, ahead, 4);
    }
}

/* Each thread takes its own share; the share of a thread that has not come, because its core is busy, is taken by another. */
static void read_shares(void *argument, int thread) {
    const reading *r = argument;
    for (int64_t i = 0; i < r->shares; i++) {
        share *s = r->share + (thread + i) % r->shares;
        if (atomic_exchange(&s->taken, 1)) continue;
        if (r->streams) s->sum = sum_share(s, r->streams, r->ahead);
        else memset(s->memory, 1, (size_t)s->bytes); /* pages that were never written are all the same one */
    }
}
