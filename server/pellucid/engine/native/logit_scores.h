/* Scores of a row of logits: the entropy, an id's logprob and rank, and the most probable ids. A row is cut into fixed
   pieces whose sums are added in order, so that the scores do not depend on the number of threads. */
#pragma once
#include <math.h>

#include "thread_pool.h"
#include "simd.h"

enum {
    PIECE = 4096,  /* logits */
    STRIDE = 128,  /* logits that are skipped together if their largest one is too small */
    MAX_TOP = 20, /* MAX_ALTERNATIVES in vocabulary/token.py */
};

typedef struct {
    int64_t rows, vocab, stride, top; /* logits (rows, vocab), their rows ``stride`` apart; 1 <= top <= MAX_TOP */
    const float *logits;
    int64_t *id;                /* (rows): the tokens; -1 becomes the most probable one */
    int64_t *rank;              /* (rows) */
    double *logprob, *entropy;  /* (rows) */
    int64_t *top_id;            /* (rows, top) */
    double *top_logprob;        /* the same */
} score_job;

typedef struct {
    int64_t id[MAX_TOP];
    float value[MAX_TOP];
    int64_t count; /* number of values, the largest first */
    int64_t above; /* logits larger than the token's */
    double weights, products; /* sums of e^(logit - value[0]), and of that times (logit - value[0]) */
} piece;

typedef struct {
    pool *pool;
    const score_job *d;
    piece *piece; /* (rows, pieces of a row) */
    int64_t pieces;
} scoring;

static void insert(piece *p, int64_t top, int64_t id, float value) {
    if (p->count == top) {
        if (!(value > p->value[top - 1])) return; /* of equal logits the first one is kept */
    } else p->count++;
    int64_t at = p->count - 1;
    for (; at && value > p->value[at - 1]; at--) {
        p->id[at] = p->id[at - 1];
        p->value[at] = p->value[at - 1];
    }
    p->id[at] = id;
    p->value[at] = value;
}

static void find_largest(piece *p, const score_job *d, const float *logit, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += STRIDE) {
        int64_t stop = i + STRIDE < end ? i + STRIDE : end;
        if (p->count == d->top && stop - i == STRIDE) {
            vf most = load(logit + i);
            for (int k = LANES; k < STRIDE; k += LANES) most = larger(most, load(logit + i + k));
            if (!(max_lanes(most) > p->value[d->top - 1])) continue;
        }
        for (int64_t k = i; k < stop; k++)
            if (p->count < d->top || logit[k] > p->value[d->top - 1]) insert(p, d->top, k, logit[k]);
    }
}

static void add_up(piece *p, const float *logit, int64_t begin, int64_t end, float chosen) {
    vf weights = splat(0), products = splat(0), most = splat(p->value[0]);
    vi above = splat_int(0);
    int64_t i = begin;
    for (; i + LANES <= end; i += LANES) {
        vf value = load(logit + i), below = value - most;
        vf weight = exp2_(below * splat(LOG2_E));
        weights += weight;
        products = fma_(weight, larger(below, splat(-1e30f)), products); /* 0 * -infinity would be NaN */
        above -= value > splat(chosen);
    }
    p->weights = (double)sum_lanes(weights);
    p->products = (double)sum_lanes(products);
    p->above = sum_lanes_int(above);
    for (; i < end; i++) {
        double below = (double)logit[i] - (double)p->value[0], weight = exp(below);
        p->weights += weight;
        if (weight > 0) p->products += weight * below;
        p->above += logit[i] > chosen;
    }
}

static void score_pieces(void *argument, int thread) {
    (void)thread;
    const scoring *all = argument;
    const score_job *d = all->d;
    for (int64_t i; (i = take(all->pool)) < d->rows * all->pieces;) {
        int64_t row = i / all->pieces, begin = i % all->pieces * PIECE, end = begin + PIECE < d->vocab ? begin + PIECE : d->vocab;
        const float *logit = d->logits + row * d->stride;
        piece *p = all->piece + i;
        p->count = 0;
        find_largest(p, d, logit, begin, end);
        add_up(p, logit, begin, end, d->id[row] < 0 ? INFINITY : logit[d->id[row]]);
    }
}

static void score_row(const scoring *all, int64_t row) {
    const score_job *d = all->d;
    const piece *first = all->piece + row * all->pieces;
    piece whole = {.count = 0};
    for (int64_t i = 0; i < all->pieces; i++)
        for (int64_t k = 0; k < first[i].count; k++) insert(&whole, d->top, first[i].id[k], first[i].value[k]);
    double most = (double)whole.value[0];
    for (int64_t i = 0; i < all->pieces; i++) {
        double lower = (double)first[i].value[0] - most, factor = exp(lower);
        whole.above += first[i].above;
        if (factor == 0) continue; /* also where ``lower`` is not finite */
        whole.weights += factor * first[i].weights;
        whole.products += factor * (first[i].products + lower * first[i].weights);
    }
    double normalizer = most + log(whole.weights), entropy = log(whole.weights) - whole.products / whole.weights;
    int64_t id = d->id[row] < 0 ? whole.id[0] : d->id[row];
    d->rank[row] = d->id[row] < 0 ? 1 : whole.above + 1;
    d->id[row] = id;
    d->logprob[row] = (double)d->logits[row * d->stride + id] - normalizer;
    d->entropy[row] = entropy > 0 ? entropy : 0;
    for (int64_t k = 0; k < d->top; k++) {
        d->top_id[row * d->top + k] = whole.id[k];
        d->top_logprob[row * d->top + k] = (double)whole.value[k] - normalizer;
    }
}
