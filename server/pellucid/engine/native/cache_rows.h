/* Rows of the KV cache: a head's numbers of one token as halves, or as bytes, with the scale of all bytes behind them. */
#pragma once
#include "simd.h"

/* Keys or values of one layer: (slots, kv heads, capacity, bytes of a row). */
typedef struct {
    uint8_t *at;
    int64_t slot, head, token; /* strides in bytes */
    int64_t in_bytes;          /* 1 for rows of bytes, 0 for rows of halves */
} cache;

/* A vector of a row's numbers, without the scale. */
INLINE vf load_cached(const uint8_t *row, int64_t d, const int IN_BYTES) {
    return IN_BYTES ? load_bytes((const int8_t *)row + d) : load_half((const half *)row + d);
}

INLINE float row_scale(const uint8_t *row, int64_t head_dim) {
    float scale;
    memcpy(&scale, row + head_dim, sizeof scale);
    return scale;
}

INLINE void unpack_row(float *out, const uint8_t *row, int64_t head_dim, const int IN_BYTES) {
    vf scale = splat(IN_BYTES ? row_scale(row, head_dim) : 1);
    for (int64_t d = 0; d < head_dim; d += LANES) {
        vf numbers = load_cached(row, d, IN_BYTES);
        store(out + d, IN_BYTES ? numbers * scale : numbers);
    }
}

static void store_row(uint8_t *row, const float *x, int64_t head_dim, int64_t in_bytes) {
    if (!in_bytes) {
        for (int64_t d = 0; d < head_dim; d += LANES) store_half((half *)row + d, load(x + d));
        return;
    }
    vf most = splat(0);
    for (int64_t d = 0; d < head_dim; d += LANES) most = larger(most, larger(load(x + d), -load(x + d)));
    float largest = max_lanes(most), scale = largest / 127.0f;
    vf inverse = splat(largest > 1e-36f ? 127.0f / largest : 0); /* smaller values become zero: the quotient would overflow */
    for (int64_t d = 0; d < head_dim; d += LANES) {
        vb bytes = __builtin_convertvector(nearest(load(x + d) * inverse), vb);
        memcpy(row + d, &bytes, LANES);
    }
    memcpy(row + head_dim, &scale, sizeof scale);
}
