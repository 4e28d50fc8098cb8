/* Activations quantized to bytes, with one scale for each thirty-two values of a token, for matrices of integers; for matrices
   of floats also the values. */
#pragma once
#include "weights.h"

enum {
    HALVES = 2, /* of a group: sums of activations are kept for sixteen values, as the finest scales are */
    /* As much as fits the registers: integer sums and float sums of a tile. */
#if AMX
    TILE = 16, /* lines of a tile register */
#elif LANES == 16
    TILE = 12,
#elif defined(I8MM)
    TILE = 8,
#else
    TILE = 4,
#endif
};

/* Activations, value = byte * scale of its group, in the order in which a tile reads them. */
typedef struct {
    int8_t *byte;   /* (tokens / TILE, groups, TILE, GROUP); see place_of() */
    float *scale;   /* (tokens / TILE, groups, TILE) */
    float *total;   /* the same: the sum of the group's values */
    int32_t *minus; /* (tokens / TILE, groups, HALVES, TILE): the sums of the halves' bytes, negated */
    float *value;   /* (tokens / TILE, groups, TILE, GROUP), or NULL without matrices of floats */
} quantized;

/* Where a tile has the byte of a token and a column. I8MM reads eight columns of two tokens at once. */
INLINE int8_t *place_of(int8_t *byte, int64_t token, int64_t column) {
#ifdef I8MM
    return byte + (token / 2 * GROUP + column / 8 * 8) * 2 + token % 2 * 8 + column % 8;
#else
    return byte + token * GROUP + column;
#endif
}

static int64_t whole_tiles(int64_t tokens) { return (tokens + TILE - 1) / TILE * TILE; }

enum { PIECES = GROUP / LANES };

/* Quantize one group of a token: the vectors of its values. */
INLINE void quantize_group(quantized q, int64_t token, int64_t groups, int64_t g, const vf *value) {
    int64_t at = token / TILE * groups + g, lane = token % TILE;
    vf most = splat(0);
    for (int i = 0; i < PIECES; i++) {
        most = larger(most, larger(value[i], -value[i]));
        if (q.value) store(q.value + (at * TILE + lane) * GROUP + i * LANES, value[i]);
    }
    float largest = max_lanes(most);
    float inverse = largest > 1e-36f ? 127.0f / largest : 0; /* smaller values become zero: the quotient would overflow */
    uint32_t sum[HALVES] = {0}; /* unsigned, because sums of invalid values may wrap */
    for (int i = 0; i < PIECES; i++) {
        vi whole = nearest(value[i] * splat(inverse));
        sum[i * HALVES / PIECES] += (uint32_t)sum_lanes_int(whole);
        vb bytes = __builtin_convertvector(whole, vb);
        memcpy(place_of(q.byte, at * TILE + lane, i * LANES), &bytes, LANES);
    }
    float scale = largest / 127.0f;
    q.scale[at * TILE + lane] = scale;
    q.total[at * TILE + lane] = scale * (float)(int32_t)(sum[0] + sum[1]);
    for (int i = 0; i < HALVES; i++) q.minus[(at * HALVES + i) * TILE + lane] = (int32_t)-sum[i];
}

/* Quantize one token's row, multiplied by ``factor`` and, where there is one, by a norm's weight. */
static void quantize(quantized q, int64_t token, int64_t columns, const float *x, float factor, const float *norm) {
    for (int64_t g = 0; g < columns / GROUP; g++) {
        vf value[PIECES];
        for (int i = 0; i < PIECES; i++) {
            value[i] = load(x + g * GROUP + i * LANES) * splat(factor);
            if (norm) value[i] *= load(norm + g * GROUP + i * LANES);
        }
        quantize_group(q, token, columns / GROUP, g, value);
    }
}
