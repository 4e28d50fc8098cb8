/* The products that an adapter adds to a matrix's: B times (A times the activations), of low rank (LoRA, arXiv 2106.09685). A reads
   what the matrix reads, and all sums are float32 in a fixed order: a token's result does not depend on its batch. */
#pragma once
#include "quantized_activations.h"
#include "thread_pool.h"

enum {
    FEW = TILE < 4 ? TILE : 4, /* tokens whose sums share a load */
    TILE_FITS = TILE * VECTORS < 32, /* the sums of a whole tile fit the registers */
};

/* The factors of each projection of the matrix: one below the other, or their blocks in turn. */
typedef struct {
    const half *down;    /* A: (projections * padded / 16, columns, 16) */
    const float *factor; /* (projections * padded): powers of two by which the halves were divided */
    const half *up;      /* B: (blocks, rank, 16) */
    int64_t projections;
    int64_t interleaved;
    int64_t rank, padded; /* of one projection; padded to whole blocks */
    int64_t end[4];       /* the block where each projection ends, unless they are interleaved */
} adapter;

static int64_t low_width(const adapter *l) { return l->projections * l->padded; }

/* One block of A's rows times the first T tokens of a tile. */
INLINE void lower_tile(const half *down, const float *factor, int64_t groups, quantized a, int64_t tile, float (*out)[BLOCK], const int T) {
    int8_t *byte = a.byte + tile * groups * TILE * GROUP;
    const float *scale = a.scale + tile * groups * TILE;
    vf sum[TILE][VECTORS] = {0};
    for (int64_t g = 0; g < groups; g++, byte += TILE * GROUP, scale += TILE, down += GROUP * BLOCK) {
        _Alignas(64) float value[TILE][GROUP];
        fetch_ahead(down, GROUP * BLOCK * (int64_t)sizeof(half));
        for (int t = 0; t < T; t++)
            for (int i = 0; i < PIECES; i++) {
                if (a.value) {
                    store(value[t] + i * LANES, load(a.value + ((tile * groups + g) * TILE + t) * GROUP + i * LANES));
                    continue;
                }
                vb bytes;
                memcpy(&bytes, place_of(byte, t, i * LANES), LANES);
                store(value[t] + i * LANES, __builtin_convertvector(bytes, vf) * splat(scale[t]));
            }
        for (int k = 0; k < GROUP; k++)
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++) {
                vf weight = load_half(down + k * BLOCK + v * LANES);
#pragma GCC unroll 16
                for (int t = 0; t < T; t++) sum[t][v] = fma_(weight, splat(value[t][k]), sum[t][v]);
            }
    }
    for (int t = 0; t < T; t++)
        for (int v = 0; v < VECTORS; v++) store(out[t] + v * LANES, sum[t][v] * load(factor + v * LANES));
}

/* A tile's tokens from ``t`` on. */
INLINE quantized tokens_from(quantized a, int64_t t) {
    a.byte = place_of(a.byte, t, 0);
    a.scale += t;
    if (a.value) a.value += t * GROUP;
    return a;
}

/* One phase: A times the activations, (tokens, low_width). */
static void lower(pool *p, const adapter *l, int64_t groups, quantized a, int64_t tokens, float *low) {
    int64_t width = low_width(l), blocks = width / BLOCK, tiles = whole_tiles(tokens) / TILE;
    for (int64_t i; (i = take(p)) < blocks * tiles;) {
        int64_t block = i % blocks, tile = i / blocks, n = tokens - tile * TILE < TILE ? tokens - tile * TILE : TILE;
        const half *down = l->down + block * groups * GROUP * BLOCK;
        const float *factor = l->factor + block * BLOCK;
        _Alignas(64) float out[TILE][BLOCK];
        if (n == 1) lower_tile(down, factor, groups, a, tile, out, 1);
        else if (n <= FEW) lower_tile(down, factor, groups, a, tile, out, FEW);
        else if (TILE_FITS) lower_tile(down, factor, groups, a, tile, out, TILE);
        else
            for (int64_t t = 0; t < n; t += FEW) lower_tile(down, factor, groups, tokens_from(a, t), tile, out + t, FEW);
        for (int64_t t = 0; t < n; t++) memcpy(low + (tile * TILE + t) * width + block * BLOCK, out[t], sizeof out[t]);
    }
}

INLINE void raise_tokens(const half *up, int64_t rank, const float *low, int64_t width, float (*product)[BLOCK], const int T) {
    vf sum[TILE][VECTORS];
#pragma GCC unroll 16
    for (int t = 0; t < T; t++)
        for (int v = 0; v < VECTORS; v++) sum[t][v] = load(product[t] + v * LANES);
    for (int64_t k = 0; k < rank; k++, up += BLOCK)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) {
            vf weight = load_half(up + v * LANES);
#pragma GCC unroll 16
            for (int t = 0; t < T; t++) sum[t][v] = fma_(weight, splat(low[t * width + k]), sum[t][v]);
        }
#pragma GCC unroll 16
    for (int t = 0; t < T; t++)
        for (int v = 0; v < VECTORS; v++) store(product[t] + v * LANES, sum[t][v]);
}

/* Adds B times the lowered activations to a block's products of the tokens ``token``..``token + n``. */
static void add_raised(const adapter *l, int64_t block, const float *low, int64_t token, int64_t n, float (*product)[BLOCK]) {
    int64_t projection = block % l->projections, width = low_width(l), t = 0;
    if (!l->interleaved)
        for (projection = 0; block >= l->end[projection]; projection++) {}
    const half *up = l->up + block * l->rank * BLOCK;
    low += token * width + projection * l->padded;
    fetch_ahead(up, l->rank * BLOCK * (int64_t)sizeof(half));
    if (TILE_FITS && n == TILE) {
        raise_tokens(up, l->rank, low, width, product, TILE);
        return;
    }
    for (; t + FEW <= n; t += FEW) raise_tokens(up, l->rank, low + t * width, width, product + t, FEW);
    for (; t < n; t++) raise_tokens(up, l->rank, low + t * width, width, product + t, 1);
}
