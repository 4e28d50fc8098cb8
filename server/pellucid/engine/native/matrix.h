/* Matrices of bytes times activations of bytes: the sums of a group are exact integers, and the order in which the groups
   are added is the same in every tile, so that a result does not depend on what it was computed beside. */
#pragma once
#include "pool.h"
#include "simd.h"

enum {
    BLOCK = 16, /* rows that are interleaved, four columns of each at a time */
    GROUP = 64, /* activations that share a scale */
    PANEL = GROUP / BLOCK * 2, /* blocks that one piece of work computes: of a gate and what it gates, one group */
    VECTORS = BLOCK / LANES,
#if LANES == 16 /* what fits the registers: integer sums and float sums of a tile of one block */
    TILE = 12,
#else
    TILE = 3,
#endif
};

typedef struct {
    const uint8_t *weight; /* (blocks, columns / 4, 16, 4), 128 added */
    const float *scale;    /* (blocks * 16) */
    const float *bias;     /* the same, or NULL */
    int64_t blocks;
    int64_t columns;
} matrix;

/* Activations, value = byte * scale of its group, in the order in which a tile reads them. */
typedef struct {
    int8_t *byte;        /* (tokens / TILE, groups, TILE, GROUP) */
    float *scale;        /* (tokens / TILE, groups, TILE) */
    int32_t *correction; /* the same: -128 * the sum of the group's bytes */
} quantized;

static int64_t whole_tiles(int64_t tokens) { return (tokens + TILE - 1) / TILE * TILE; }

enum { PARTS = GROUP / LANES };

/* Quantise one group of a token: the vectors of its values. */
INLINE void quantize_group(quantized q, int64_t token, int64_t groups, int64_t g, const vf *value) {
    int64_t at = (token / TILE * groups + g) * TILE + token % TILE;
    vf most = splat(0);
    for (int i = 0; i < PARTS; i++) most = larger(most, larger(value[i], -value[i]));
    float largest = max_lanes(most);
    float inverse = largest > 0 ? 127.0f / largest : 0;
    vi sum = splat_int(0);
    for (int i = 0; i < PARTS; i++) {
        vi whole = nearest(value[i] * splat(inverse));
        sum += whole;
        vb bytes = __builtin_convertvector(whole, vb);
        memcpy(q.byte + at * GROUP + i * LANES, &bytes, LANES);
    }
    q.scale[at] = largest / 127.0f;
    q.correction[at] = -128 * sum_lanes_int(sum);
}

/* Quantise one token's row, multiplied by ``factor`` and, where there is one, by a norm's weight. */
static void quantize(quantized q, int64_t token, int64_t columns, const float *x, float factor, const float *norm) {
    for (int64_t g = 0; g < columns / GROUP; g++) {
        vf value[PARTS];
        for (int i = 0; i < PARTS; i++) {
            value[i] = load(x + g * GROUP + i * LANES) * splat(factor);
            if (norm) value[i] *= load(norm + g * GROUP + i * LANES);
        }
        quantize_group(q, token, columns / GROUP, g, value);
    }
}

/* One block of rows times the first T tokens of a tile, without the rows' scales. */
INLINE void tile(const matrix *m, int64_t block, quantized a, int64_t token, float (*out)[BLOCK], const int T) {
    int64_t groups = m->columns / GROUP, at = token / TILE * groups * TILE;
    const uint8_t *w = m->weight + block * m->columns * BLOCK;
    const int8_t *byte = a.byte + at * GROUP;
    const float *scale = a.scale + at;
    const int32_t *correction = a.correction + at;
    vf sum[TILE][VECTORS] = {0};
    for (int64_t g = 0; g < groups; g++, w += GROUP * BLOCK, byte += TILE * GROUP, scale += TILE, correction += TILE) {
        vi exact[TILE][VECTORS];
#pragma GCC unroll 16
        for (int t = 0; t < T; t++)
#pragma GCC unroll 16
            for (int v = 0; v < VECTORS; v++) exact[t][v] = dot_start(correction[t]);
#pragma GCC unroll 16
        for (int k = 0; k < GROUP; k += 4) {
            weights four[VECTORS];
#pragma GCC unroll 16
            for (int v = 0; v < VECTORS; v++) four[v] = load_weights(w + k * BLOCK + v * LANES * 4);
#pragma GCC unroll 16
            for (int t = 0; t < T; t++) {
                int32_t activation;
                memcpy(&activation, byte + t * GROUP + k, 4);
#pragma GCC unroll 16
                for (int v = 0; v < VECTORS; v++) exact[t][v] = dot(exact[t][v], four[v], activation);
            }
        }
#pragma GCC unroll 16
        for (int t = 0; t < T; t++)
#pragma GCC unroll 16
            for (int v = 0; v < VECTORS; v++) sum[t][v] = fma_(to_float(exact[t][v]), splat(scale[t]), sum[t][v]);
    }
#pragma GCC unroll 16
    for (int t = 0; t < T; t++)
#pragma GCC unroll 16
        for (int v = 0; v < VECTORS; v++) store(out[t] + v * LANES, sum[t][v]);
}

#define FOR(T) \
    static void tile_##T(const matrix *m, int64_t b, quantized a, int64_t token, float (*out)[BLOCK]) { tile(m, b, a, token, out, T); }
typedef void (*tile_function)(const matrix *, int64_t, quantized, int64_t, float (*)[BLOCK]);
FOR(1) FOR(2) FOR(3)
#if LANES == 16
FOR(4) FOR(5) FOR(6) FOR(7) FOR(8) FOR(9) FOR(10) FOR(11) FOR(12)
static const tile_function tiles[TILE] = {tile_1, tile_2, tile_3, tile_4,  tile_5,  tile_6,
                                          tile_7, tile_8, tile_9, tile_10, tile_11, tile_12};
#else
static const tile_function tiles[TILE] = {tile_1, tile_2, tile_3};
#endif
#undef FOR

/* What becomes of the products: stored; added to what is there; or a gate's silu times what it gates, quantised. */
typedef enum { STORE, ADD, GATE } sink;

typedef struct {
    sink sink;
    float *out; /* (tokens, width), for STORE and ADD */
    int64_t width;
    quantized gated; /* for GATE */
} target;

/* A row's scale and bias come last. */
INLINE vf scaled(const matrix *m, int64_t row, const float *product) {
    return fma_(load(product), load(m->scale + row), m->bias ? load(m->bias + row) : splat(0));
}

/* A panel's blocks of a gate, each followed by what it gates, are one group of columns of the next matrix. */
static void finish_gate(const matrix *m, int64_t block, const float (*product)[TILE][BLOCK], int64_t t, int64_t token, quantized q) {
    vf value[PARTS];
    for (int i = 0; i < PARTS; i++) {
        int64_t b = i / VECTORS * 2, lane = i % VECTORS * LANES, row = (block + b) * BLOCK + lane;
        value[i] = silu(scaled(m, row, product[b][t] + lane)) * scaled(m, row + BLOCK, product[b + 1][t] + lane);
    }
    quantize_group(q, token, m->blocks * BLOCK / 2 / GROUP, block / PANEL, value);
}

static void finish(const matrix *m, int64_t block, const float *product, int64_t token, const target *to) {
    for (int64_t i = 0; i < BLOCK; i += LANES) {
        int64_t row = block * BLOCK + i;
        float *at = to->out + token * to->width + row;
        vf value = scaled(m, row, product + i);
        store(at, to->sink == ADD ? load(at) + value : value);
    }
}

/* One phase: (tokens, columns) times the matrix. The caller meets afterwards. */
static void multiply(pool *p, const matrix *m, quantized a, int64_t tokens, const target *to) {
    int64_t panels = (m->blocks + PANEL - 1) / PANEL;
    /* Enough pieces that no thread waits long for the last one, each of them whole tiles. */
    int64_t pieces = (8 * p->threads + panels - 1) / panels, all = whole_tiles(tokens) / TILE;
    int64_t chunk = (all + pieces - 1) / pieces * TILE, chunks = (tokens + chunk - 1) / chunk;
    for (int64_t i; (i = take(p)) < panels * chunks;) {
        int64_t first = i % panels * PANEL, count = m->blocks - first < PANEL ? m->blocks - first : PANEL;
        int64_t begin = i / panels * chunk, end = begin + chunk < tokens ? begin + chunk : tokens;
        for (int64_t token = begin; token < end; token += TILE) {
            int64_t n = end - token < TILE ? end - token : TILE;
            _Alignas(64) float product[PANEL][TILE][BLOCK];
            for (int64_t b = 0; b < count; b++) tiles[n - 1](m, first + b, a, token, product[b]);
            for (int64_t t = 0; t < n; t++)
                if (to->sink == GATE) finish_gate(m, first, product, t, token + t, to->gated);
                else
                    for (int64_t b = 0; b < count; b++) finish(m, first + b, product[b][t], token + t, to);
        }
    }
}

/* One row of a matrix as floats: how an embedding is looked up. */
static void read_row(const matrix *m, int64_t row, float *out) {
    const uint8_t *w = m->weight + row / BLOCK * m->columns * BLOCK + row % BLOCK * 4;
    for (int64_t k = 0; k < m->columns; k++) out[k] = (float)((int)w[k / 4 * BLOCK * 4 + k % 4] - 128) * m->scale[row];
}
