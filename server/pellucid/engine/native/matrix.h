/* Matrices of integers times activations of bytes: the sums of a group are exact integers. Matrices of floats times activations
   as they are. The order of additions is the same in every tile, so that a result does not depend on the other tokens of its
   batch. */
#pragma once
#include "quantized_activations.h"
#include "adapter.h"
#include "thread_pool.h"
#if AMX
#include "amx.h"
#endif

enum {
    PANEL = GROUP / BLOCK * 2, /* blocks that are computed together: one group of a gate and of the rows that it gates */
    MAX_PARTS = 4,
    /* Tokens for which numbers are unpacked as they are read, because numbers are used once or AMX is no faster. */
    UNPACK_ABOVE = AMX ? 8 : TILE,
};

/* Matrices that read the same input, one below the other, or their blocks in turn. */
typedef struct {
    weights part[MAX_PARTS];
    const float *bias; /* (blocks * 16), or NULL */
    int64_t parts;
    int64_t interleaved;
    int64_t blocks; /* of all parts */
    int64_t groups;
    const adapter *adapter; /* or NULL */
} matrix;

/* What a tile multiplies: a block's numbers and scales. */
typedef struct {
    const uint8_t *number;
    const half *scale, *minimum;
    const uint8_t *table;
    int64_t groups;
    int zero; /* without minima, the number for zero is 1 << zero */
} rows;

/* The rows of a block after its first ``n``. */
INLINE rows skip(rows r, int n) {
    r.number += n * 4;
    r.scale += n;
    if (r.minimum) r.minimum += n;
    return r;
}

/* Vector ``v`` of strip ``i``. Where tokens share sums: two rows, with the eight columns that begin there. */
INLINE vi load_numbers(rows r, const form f, int i, int v, const int share) {
    vi strip = load_strip(r.number, f, i, v / share, r.table);
#ifdef I8MM
    int32x4_t first = (int32x4_t)strip, second = (int32x4_t)load_strip(r.number, f, i + 1, v / share, r.table);
    if (share == 2) return (vi)(v % 2 ? vzip2q_s32(first, second) : vzip1q_s32(first, second));
#endif
    return strip;
}

/* The sum of half a group's values, of minus the sum of its bytes. */
INLINE float half_total(int32_t minus, float scale) { return (float)-minus * scale; }

/* V vectors of a block's rows times the first T tokens of a tile. Where two tokens share a vector of sums, ``t`` counts pairs of
   tokens and ``v`` pairs of rows. */
INLINE void tile(rows r, quantized a, int64_t token, float *out, const form f, const int shared, const int with_minimum, const int T, const int V) {
    const int share = T % MOST_SHARING ? 1 : MOST_SHARING, is_byte = f == BITS8 || f & TABLED;
    int64_t at = token / TILE * r.groups;
    const int8_t *byte = a.byte + at * TILE * GROUP;
    const float *scale = a.scale + at * TILE, *total = a.total + at * TILE;
    const int32_t *minus = a.minus + at * HALVES * TILE;
    vf sum[TILE][VECTORS * MOST_SHARING] = {0};
    for (int64_t g = 0; g < r.groups; g++, byte += TILE * GROUP, scale += TILE, total += TILE, minus += HALVES * TILE, r.number += group_bytes(f)) {
        if (!(f & UNPACKED)) fetch_ahead(r.number, group_bytes(f));
#pragma GCC unroll 2
        for (int begin = 0; begin < GROUP; begin += shared, r.scale += BLOCK, r.minimum += with_minimum ? BLOCK : 0) {
            const int32_t *low = minus + begin / (GROUP / HALVES) * TILE;
            vi exact[TILE][VECTORS * MOST_SHARING];
            run_sum run[TILE][VECTORS * MOST_SHARING];
            _Alignas(64) int32_t start[TILE];
            _Alignas(64) float sums[TILE];
#pragma GCC unroll 16
            for (int t = 0; t < T; t++) {
                /* Unsigned, because the sums of absent tokens may wrap: a tile always computes all that it has room for. */
                uint32_t all = (uint32_t)low[t] + (shared == GROUP ? (uint32_t)low[TILE + t] : 0);
                if (with_minimum) sums[t] = shared == GROUP ? total[t] : half_total(low[t], scale[t]);
                start[t] = with_minimum ? 0 : (int32_t)(is_byte ? byte_correction(all) : all << r.zero);
            }
            const int length = run_length(is_byte ? 8 : f & ~UNPACKED, shared / 4);
#pragma GCC unroll 16
            for (int i = begin / 4; i < (begin + shared) / 4; i += share) {
                const int is_first = i % length == 0, is_last = i % length == length - share;
                factor strip[VECTORS * MOST_SHARING];
#pragma GCC unroll 16
                for (int v = 0; v < V * share; v++) {
                    vi numbers = load_numbers(r, f, i, v, share);
                    strip[v] = is_byte ? byte_factor(numbers) : small_factor(numbers);
                    IN_ORDER(strip[v].value);
                }
#pragma GCC unroll 16
                for (int t = 0; t < T / share; t++) {
                    activation four = load_activation(byte + t * share * GROUP, i);
#pragma GCC unroll 16
                    for (int v = 0; v < V * share; v++) {
                        if (is_first) run[t][v] = begin_run(of_tokens_int(start, t, share));
                        run[t][v] = is_byte ? dot(run[t][v], strip[v], four, share) : dot_small(run[t][v], strip[v], four, share);
                        IN_ORDER(run[t][v]);
                        if (!is_last) continue;
                        exact[t][v] = end_run(i < begin / 4 + length ? splat_int(0) : exact[t][v], run[t][v]);
                        IN_ORDER(exact[t][v]);
                    }
                }
            }
#pragma GCC unroll 16
            for (int v = 0; v < V * share; v++) {
                vf row = of_rows(r.scale, v, share), minimum = with_minimum ? of_rows(r.minimum, v, share) : splat(0);
#pragma GCC unroll 16
                for (int t = 0; t < T / share; t++) {
                    vf whole = to_float(end_sum(exact[t][v], of_tokens_int(start, t, share)));
                    sum[t][v] = fma_(whole, row * of_tokens(scale, t, share), sum[t][v]);
                    if (with_minimum) sum[t][v] = fma_(minimum, of_tokens(sums, t, share), sum[t][v]);
                }
            }
        }
    }
#pragma GCC unroll 16
    for (int t = 0; t < T; t++)
#pragma GCC unroll 16
        for (int v = 0; v < V; v++) store(out + t * BLOCK + v * LANES, share == 1 ? sum[t][v] : of_token(sum[t / share] + v * share, t));
}

enum { CHAINS = VECTORS == 1 ? 2 : 1 }; /* sums of a row: one addition waits for the last */

/* V vectors of a block's rows of floats, from ``row`` on, times the first T tokens of a tile. */
INLINE void float_tile(rows r, quantized a, int64_t token, int row, float *out, const int is_bfloat, const int T, const int V) {
    const float *value = a.value + token / TILE * r.groups * TILE * GROUP;
    vf sum[CHAINS][TILE][VECTORS] = {0};
    for (int64_t g = 0; g < r.groups; g++, value += TILE * GROUP, r.number += group_bytes(FLOATS)) {
        if (T < TILE) fetch_ahead(r.number, group_bytes(FLOATS)); /* else the next tile reads them again */
        for (int k = 0; k < GROUP; k += CHAINS)
#pragma GCC unroll 2
            for (int c = 0; c < CHAINS; c++)
#pragma GCC unroll 4
                for (int v = 0; v < V; v++) {
                    vf weight = load_floats(r.number + ((k + c) * BLOCK + row + v * LANES) * sizeof(half), is_bfloat);
#pragma GCC unroll 16
                    for (int t = 0; t < T; t++) sum[c][t][v] = fma_(weight, splat(value[t * GROUP + k + c]), sum[c][t][v]);
                }
    }
#pragma GCC unroll 16
    for (int t = 0; t < T; t++)
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) store(out + t * BLOCK + row + v * LANES, CHAINS == 2 ? sum[0][t][v] + sum[CHAINS - 1][t][v] : sum[0][t][v]);
}

#if AMX
/* A block's rows, unpacked and signed, times all tokens of a tile: with the bits of tile(), whose order of additions this has. */
INLINE void amx_tile(rows r, quantized a, int64_t token, float *out, const int shared, const int with_minimum) {
    int64_t at = token / TILE * r.groups;
    const int8_t *byte = a.byte + at * TILE * GROUP;
    const float *scale = a.scale + at * TILE, *total = a.total + at * TILE;
    const int32_t *minus = a.minus + at * HALVES * TILE;
    vf sum[TILE] = {0};
    for (int64_t g = 0; g < r.groups; g++, byte += TILE * GROUP, scale += TILE, total += TILE, minus += HALVES * TILE, r.number += group_bytes(UNPACKED))
#pragma GCC unroll 2
        for (int begin = 0; begin < GROUP; begin += shared, r.scale += BLOCK, r.minimum += with_minimum ? BLOCK : 0) {
            vi exact[TILE];
            multiply_columns(byte + begin, r.number + begin * BLOCK, shared, exact);
            vf row = load_half(r.scale), minimum = with_minimum ? load_half(r.minimum) : splat(0);
#pragma GCC unroll 16
            for (int t = 0; t < TILE; t++) {
                sum[t] = fma_(to_float(exact[t]), row * splat(scale[t]), sum[t]);
                float all = shared == GROUP ? total[t] : half_total(minus[begin / (GROUP / HALVES) * TILE + t], scale[t]);
                if (with_minimum) sum[t] = fma_(minimum, splat(all), sum[t]);
            }
        }
#pragma GCC unroll 16
    for (int t = 0; t < TILE; t++) store(out + t * BLOCK, sum[t]);
}
#endif

/* The forms of numbers and scales, each for any number of tokens. */
typedef void (*multiplier)(rows r, quantized a, int64_t token, float *out, int tokens);
#define CASE(T, V) \
    case T: \
        for (int row = 0;; row += V * LANES, r = skip(r, V * LANES)) { \
            tile(r, a, token, out + row, (form)F, SHARED, MINIMUM, T, V); \
            if (V == VECTORS || row + V * LANES == BLOCK) return; \
        }
#define MULTIPLIER(name, form_, shared_, minimum_) \
    static void name(rows r, quantized a, int64_t token, float *out, int tokens) { \
        enum { F = form_, SHARED = shared_, MINIMUM = minimum_ }; \
        switch (tokens) { TOKENS } \
    }
#if AMX
#define WHOLE_TILE CASE(16, 1)
#define UNPACKED_MULTIPLIER(name, form_, shared_, minimum_) \
    static void name(rows r, quantized a, int64_t token, float *out, int tokens) { \
        (void)tokens; \
        amx_tile(r, a, token, out, shared_, minimum_); \
    }
#else
#define WHOLE_TILE /* one of TOKENS */
#define UNPACKED_MULTIPLIER(name, form_, shared_, minimum_) MULTIPLIER(name, UNPACKED | form_, shared_, minimum_)
#endif
#if LANES == 16
#define TOKENS CASE(1, 1) CASE(2, 1) CASE(3, 1) CASE(4, 1) CASE(6, 1) CASE(8, 1) CASE(12, 1)
/* Of the tile that is computed for so many tokens; only AMX has tiles of sixteen, of which only floats are computed here. */
static const int sizes[] = {0, 1, 2, 3, 4, 6, 6, 8, 8, 12, 12, 12, 12, 16, 16, 16, 16};
#elif defined(I8MM)
#define TOKENS CASE(1, VECTORS) CASE(2, VECTORS) CASE(4, 2) CASE(6, 1) CASE(8, 1)
static const int sizes[TILE + 1] = {0, 1, 2, 4, 4, 6, 6, 8, 8};
#else
#define TOKENS CASE(1, VECTORS) CASE(2, VECTORS) CASE(3, 2) CASE(4, 2)
static const int sizes[TILE + 1] = {0, 1, 2, 3, 4};
#endif
MULTIPLIER(multiply_2_minimum, BITS2, 16, 1)
MULTIPLIER(multiply_3, BITS3, 16, 0)
MULTIPLIER(multiply_4, BITS4, 32, 0)
MULTIPLIER(multiply_4_tabled, BITS4 | TABLED, 32, 0)
MULTIPLIER(multiply_4_tabled_finely, BITS4 | TABLED, 16, 0)
MULTIPLIER(multiply_4_minimum, BITS4, 32, 1)
MULTIPLIER(multiply_5, BITS5, 32, 0)
MULTIPLIER(multiply_5_minimum, BITS5, 32, 1)
MULTIPLIER(multiply_6, BITS6, 16, 0)
MULTIPLIER(multiply_8, BITS8, 32, 0)
UNPACKED_MULTIPLIER(multiply_unpacked_2_minimum, BITS2, 16, 1)
UNPACKED_MULTIPLIER(multiply_unpacked_3, BITS3, 16, 0)
UNPACKED_MULTIPLIER(multiply_unpacked_4, BITS4, 32, 0)
UNPACKED_MULTIPLIER(multiply_unpacked_4_tabled_finely, BITS4 | TABLED, 16, 0)
UNPACKED_MULTIPLIER(multiply_unpacked_4_minimum, BITS4, 32, 1)
UNPACKED_MULTIPLIER(multiply_unpacked_5, BITS5, 32, 0)
UNPACKED_MULTIPLIER(multiply_unpacked_5_minimum, BITS5, 32, 1)
UNPACKED_MULTIPLIER(multiply_unpacked_6, BITS6, 16, 0)
#undef CASE
#define CASE(T, V) \
    case T: \
        for (int row = 0; row < BLOCK; row += V * LANES) float_tile(r, a, token, row, out, IS_BFLOAT, T, V); \
        return;
#define FLOAT_MULTIPLIER(name, is_bfloat) \
    static void name(rows r, quantized a, int64_t token, float *out, int tokens) { \
        enum { IS_BFLOAT = is_bfloat }; \
        switch (tokens) { TOKENS WHOLE_TILE } \
    }
FLOAT_MULTIPLIER(multiply_halves, 0)
FLOAT_MULTIPLIER(multiply_bfloats, 1)
#undef CASE
#undef TOKENS
#undef WHOLE_TILE
#undef FLOAT_MULTIPLIER
#undef UNPACKED_MULTIPLIER
#undef MULTIPLIER

static multiplier multiplier_of(const weights *w, int is_unpacked) {
    static const multiplier four[] = {multiply_4, multiply_unpacked_4, multiply_4_minimum, multiply_unpacked_4_minimum};
    static const multiplier five[] = {multiply_5, multiply_unpacked_5, multiply_5_minimum, multiply_unpacked_5_minimum};
    int form = (w->minimum != NULL) * 2 + is_unpacked;
    if (w->bits == FLOATS) return w->is_bfloat ? multiply_bfloats : multiply_halves;
    if (w->table && w->shared < GROUP) return is_unpacked ? multiply_unpacked_4_tabled_finely : multiply_4_tabled_finely;
    if (w->table && !is_unpacked) return multiply_4_tabled;
    switch (w->table ? BITS8 : w->bits) {
    case 2: return is_unpacked ? multiply_unpacked_2_minimum : multiply_2_minimum;
    case 3: return is_unpacked ? multiply_unpacked_3 : multiply_3;
    case 4: return four[form];
    case 5: return five[form];
    case 6: return is_unpacked ? multiply_unpacked_6 : multiply_6;
    default: return AMX && is_unpacked ? multiply_unpacked_4 : multiply_8; /* signed bytes of all forms are alike to AMX */
    }
}

/* The use of the products: stored; added to the output; or a function of a gate times the rows that it gates, quantized. */
typedef enum { STORE, ADD, GATE } sink;
enum { SILU, GELU, LIMITED };

typedef struct {
    sink sink;
    float *out; /* (tokens, width), for STORE and ADD */
    int64_t width;
    float scale;       /* for ADD */
    int64_t gate;      /* for GATE: SILU, GELU or LIMITED */
    quantized gated; /* for GATE */
    const float *low; /* the result of lower(), if the matrix has an adapter */
} target;

INLINE vf biased(const matrix *m, int64_t row, const float *product) {
    return m->bias ? load(product) + load(m->bias + row) : load(product);
}

/* A panel's blocks of a gate, each followed by the block that it gates, are one group of columns of the next matrix. */
static void finish_gate(const matrix *m, int64_t block, const float (*product)[TILE][BLOCK], int64_t t, int64_t token, const target *to) {
    vf value[PIECES];
    for (int i = 0; i < PIECES; i++) {
        int64_t b = i / VECTORS * 2, lane = i % VECTORS * LANES, row = (block + b) * BLOCK + lane;
        vf gate = biased(m, row, product[b][t] + lane);
        vf up = biased(m, row + BLOCK, product[b + 1][t] + lane);
        value[i] = to->gate == LIMITED ? limited(gate, up) : (to->gate == GELU ? gelu(gate) : silu(gate)) * up;
    }
    quantize_group(to->gated, token, m->blocks * BLOCK / 2 / GROUP, block / PANEL, value);
}

static void finish(const matrix *m, int64_t block, const float *product, int64_t token, const target *to) {
    for (int64_t i = 0; i < BLOCK; i += LANES) {
        int64_t row = block * BLOCK + i;
        float *at = to->out + token * to->width + row;
        vf value = biased(m, row, product + i);
        store(at, to->sink == ADD ? load(at) + value * splat(to->scale) : value);
    }
}

/* The part that a block belongs to; *block becomes its index there. */
static const weights *part_of(const matrix *m, int64_t *block) {
    if (m->interleaved) {
        const weights *w = m->part + *block % m->parts;
        *block /= m->parts;
        return w;
    }
    const weights *w = m->part;
    while (*block >= w->blocks) *block -= w++->blocks;
    return w;
}

/* Blocks of a panel times the tokens ``begin``..``end``; ``unpacked`` is room for the numbers of a panel. */
static void multiply_panel(const matrix *m, int64_t first, quantized a, int64_t begin, int64_t end, const target *to, uint8_t *unpacked) {
    int64_t count = m->blocks - first < PANEL ? m->blocks - first : PANEL;
    rows r[PANEL];
    multiplier by[PANEL];
    for (int64_t b = 0; b < count; b++, unpacked += m->groups * group_bytes(UNPACKED)) {
        int64_t block = first + b;
        const weights *w = part_of(m, &block);
        int64_t scales = block * w->groups * (GROUP / w->shared) * BLOCK;
        r[b] = (rows){
            .number = w->number + block * w->groups * group_bytes(w->bits),
            .scale = w->scale ? w->scale + scales : NULL,
            .minimum = w->minimum ? w->minimum + scales : NULL,
            .table = w->table,
            .groups = w->groups,
            .zero = zero_bit(w),
        };
        int is_unpacked = end - begin > UNPACK_ABOVE && (AMX || w->bits != BITS8) && w->bits != FLOATS;
        by[b] = multiplier_of(w, is_unpacked);
        if (!is_unpacked) continue;
        unpack_block(w, block, AMX && !w->minimum ? 1 << r[b].zero : 0, unpacked);
        r[b].number = unpacked;
    }
    for (int64_t token = begin; token < end; token += TILE) {
        int64_t n = end - token < TILE ? end - token : TILE;
        _Alignas(64) float product[PANEL][TILE][BLOCK];
        for (int64_t b = 0; b < count; b++) by[b](r[b], a, token, product[b][0], sizes[n]);
        for (int64_t b = 0; m->adapter && b < count; b++) add_raised(m->adapter, first + b, to->low, token, n, product[b]);
        for (int64_t t = 0; t < n; t++)
            if (to->sink == GATE) finish_gate(m, first, product, t, token + t, to);
            else
                for (int64_t b = 0; b < count; b++) finish(m, first + b, product[b][t], token + t, to);
    }
}

/* The pieces of work of threads that share several matrices: the matrices' pieces, one matrix after the other. */
typedef struct {
    pool *pool;
    int64_t piece;   /* taken by this thread */
    int64_t skipped; /* pieces of the earlier matrices */
} pieces;

/* What this thread takes of the matrix times the tokens ``from``..``to``, where a tile begins at ``from``. */
static void multiply_pieces(pieces *w, const matrix *m, quantized a, int64_t from, int64_t to, const target *t, uint8_t *unpacked) {
    int64_t panels = (m->blocks + PANEL - 1) / PANEL, tokens = to - from, threads = w->pool->threads;
    if (!tokens) return; /* there is nothing to cut into pieces */
    /* Enough pieces that no thread waits long for the last one: runs of panels for few tokens, as memory is read faster in
       order; else a panel times some tokens, in whole tiles. */
    int64_t run = tokens > TILE || panels < 32 * threads ? 1 : panels / (16 * threads), runs = (panels + run - 1) / run;
    int64_t wanted = (8 * threads + runs - 1) / runs, all = whole_tiles(tokens) / TILE;
    int64_t chunk = (all + wanted - 1) / wanted * TILE, chunks = (tokens + chunk - 1) / chunk;
    w->skipped += runs * chunks;
    if (w->piece >= w->skipped) return;
#if AMX
    if (tokens > UNPACK_ABOVE) shape_registers();
#endif
    for (; w->piece < w->skipped; w->piece = take(w->pool)) {
        int64_t i = w->piece - w->skipped + runs * chunks;
        int64_t first = i % runs * run, last = first + run < panels ? first + run : panels;
        int64_t begin = from + i / runs * chunk, end = begin + chunk < to ? begin + chunk : to;
        for (int64_t panel = first; panel < last; panel++) multiply_panel(m, panel * PANEL, a, begin, end, t, unpacked);
    }
#if AMX
    if (tokens > UNPACK_ABOVE) _tile_release(); /* or the system would save the registers whenever it interrupts this thread */
#endif
}

/* One phase: (tokens, columns) times the matrix. */
static void multiply(pool *p, const matrix *m, quantized a, int64_t tokens, const target *to, uint8_t *unpacked) {
    pieces w = {p, take(p), 0};
    multiply_pieces(&w, m, a, 0, tokens, to, unpacked);
}

/* Some blocks of a matrix: the rows of an expert. */
static matrix blocks_of(const matrix *m, int64_t first, int64_t count) {
    matrix some = *m;
    some.blocks = count;
    for (int64_t i = 0; i < m->parts; i++) {
        weights *w = some.part + i;
        int64_t from = first / m->parts * w->groups, scales = from * (GROUP / w->shared) * BLOCK;
        w->blocks = count / m->parts;
        w->number += from * group_bytes(w->bits);
        if (w->scale) w->scale += scales;
        if (w->minimum) w->minimum += scales;
    }
    if (m->bias) some.bias += first * BLOCK;
    return some;
}
