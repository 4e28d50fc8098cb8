/* A row of logits without the ids that a constraint refuses: the largest one that is left, and the sum of all of them. */
#pragma once
#include <math.h>

#include "logit_scores.h"

typedef struct {
    int64_t vocab;
    const float *logits;
    const uint32_t *mask; /* a bit for each id, and zeros after the last one */
    float *out;           /* (vocab): the logit, or -infinity for an id whose bit is not set; or NULL if these are not wanted */
    int64_t best, count;  /* results: the first of the largest, or -1 if there is none; the bits that are set */
    double total;         /* log of the sum of e^logit */
} mask_job;

/* The ``LANES`` logits from id ``i`` on, -infinity for those whose bit is not set. */
INLINE vf allowed_logits(const mask_job *d, int64_t i) {
    vi lane;
    for (int i = 0; i < LANES; i++) lane[i] = 1 << i;
    return choose((splat_int((int32_t)(d->mask[i / 32] >> i % 32)) & lane) != 0, load(d->logits + i), splat(-INFINITY));
}

static float allowed_logit(const mask_job *d, int64_t i) { return d->mask[i / 32] >> i % 32 & 1 ? d->logits[i] : -INFINITY; }

static float largest_allowed(mask_job *d) {
    vf most = splat(-INFINITY);
    int64_t i = 0;
    for (; i + 32 <= d->vocab; i += 32) {
        d->count += __builtin_popcount(d->mask[i / 32]);
        for (int k = 0; k < 32; k += LANES) {
            vf kept = allowed_logits(d, i + k);
            most = larger(most, kept);
            if (d->out) store(d->out + i + k, kept);
        }
    }
    float largest = max_lanes(most);
    for (; i < d->vocab; i++) {
        float kept = allowed_logit(d, i);
        d->count += d->mask[i / 32] >> i % 32 & 1;
        if (d->out) d->out[i] = kept;
        largest = kept > largest ? kept : largest;
    }
    return largest;
}

static void mask_logits(mask_job *d) {
    d->best = -1;
    d->count = 0;
    float largest = largest_allowed(d);
    if (!(largest > -INFINITY)) {
        d->total = -INFINITY;
        return;
    }
    double sum = 0;
    int64_t i = 0;
    for (; i + STRIDE <= d->vocab; i += STRIDE) {
        vf weights = splat(0);
        vi equal = splat_int(0);
        for (int k = 0; k < STRIDE; k += LANES) {
            vf value = allowed_logits(d, i + k);
            weights += exp2_((value - splat(largest)) * splat(LOG2_E));
            equal -= value == splat(largest);
        }
        sum += (double)sum_lanes(weights);
        if (d->best < 0 && sum_lanes_int(equal))
            for (int64_t k = i; d->best < 0; k++)
                if (allowed_logit(d, k) == largest) d->best = k;
    }
    for (; i < d->vocab; i++) {
        sum += exp((double)allowed_logit(d, i) - (double)largest);
        if (d->best < 0 && allowed_logit(d, i) == largest) d->best = i;
    }
    d->total = (double)largest + log(sum);
}
