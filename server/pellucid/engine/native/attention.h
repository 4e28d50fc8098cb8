/* Causal attention over the KV cache, softmax taken block by block of keys (Milakov and Gimelshein 2018, arXiv 1805.02867), and
   part by part of eight blocks, so that threads can share one long sequence. Blocks and parts have fixed positions counted from
   zero, and a row's operations are the same whichever rows and threads share its work: a token's result does not depend on its
   batch or chunk. A row is a query of one head. */
#pragma once
#include "cache_rows.h"

enum {
    KEYS = 64,         /* of a block */
    PART = 8 * KEYS,   /* keys of a part */
    SPLIT_TOKENS = 8,  /* with so many tokens at most, threads share a sequence: more tokens are work enough for all */
    ROWS_SHARED = 192, /* rows that share a block of keys once it is unpacked, about */
    BAND = 3 * LANES,  /* rows that are weighed together */
    ROWS = 6,          /* of a tile of outputs, at most */
    WIDE = 4 * LANES,  /* columns of such a tile, at most */
    SUMS = LANES == 8 ? 12 : LANES == 16 ? 24 : 16, /* of a tile of scores, at most: AVX2 has 16 registers, others have 32 */
};

/* Keeps a vector in a register: GCC would read it again for each product. */
#if defined(__x86_64__)
#define KEEP(vector) __asm__("" : "+v"(vector))
#elif defined(__aarch64__)
#define KEEP(vector) __asm__("" : "+w"(vector))
#else
#define KEEP(vector) ((void)0)
#endif

/* A function that GCC would otherwise inline, with its tiles twice, and with fewer registers. */
#define APART __attribute__((noinline))

typedef struct {
    int64_t slot, start, count, offset; /* see BatchSpan in model.py */
    int64_t state_from, state_to;       /* buffers of states, or negative */
    int64_t whole;                      /* 1: each token sees the whole span */
} span;

typedef struct {
    int64_t heads, kv_heads, head_dim;
    float scale; /* of scores */
    float cap;   /* of scores, in units of log2, or 0 */
} head_shape;

/* Values of rows, mixed by weights that are relative to the largest score. */
typedef struct {
    float *out;   /* (rows, head_dim): sums of weighted values */
    float *most;  /* (rows) largest scores */
    float *total; /* (rows) sums of the weights */
} mixture;

/* Working memory of one thread. */
typedef struct {
    float *query;      /* (bands, head_dim, rows of the band), scaled */
    float *key;        /* (KEYS, head_dim) */
    float *weight;     /* (KEYS, rows of a band); scores at first */
    float *shrink;     /* (rows) factor of the earlier blocks */
    int32_t *position; /* (rows) */
    mixture part, whole; /* of the blocks of a part so far, of the parts so far */
} attention_scratch;

static int64_t shared_tokens(head_shape s) {
    int64_t group = s.heads / s.kv_heads;
    return group < ROWS_SHARED ? ROWS_SHARED / group : 1;
}

/* The parts into which threads split each sequence of a batch: by all tokens of the batch, and by the end of its longest sequence. */
static int64_t split_parts(int64_t tokens, int64_t end) { return tokens <= SPLIT_TOKENS && end > PART ? (end + PART - 1) / PART : 1; }

static int64_t whole_bands(int64_t rows) { return (rows + BAND - 1) / BAND * BAND; }

/* Rows of a band, in whole vectors, where so many rows are left. */
static int64_t band_width(int64_t rows) { return rows < BAND ? (rows + LANES - 1) / LANES * LANES : BAND; }

INLINE mixture from_row(mixture m, int64_t row, int64_t head_dim) {
    return (mixture){m.out + row * head_dim, m.most + row, m.total + row};
}

static void clear(mixture m, int64_t rows, int64_t head_dim) {
    memset(m.out, 0, sizeof(float) * (size_t)(rows * head_dim));
    memset(m.total, 0, sizeof(float) * (size_t)rows);
    for (int64_t r = 0; r < rows; r++) m.most[r] = -1e30f;
}

/* Adds the values of a part. What a row has mixed of keys that it does not see is relative to -1e30, and adds nothing. */
static void fold(mixture whole, mixture part, int64_t rows, int64_t head_dim) {
    for (int64_t r = 0; r < rows; r++) {
        float most = whole.most[r] > part.most[r] ? whole.most[r] : part.most[r];
        vf kept = splat(exp2_(splat(whole.most[r] - most))[0]), added = splat(exp2_(splat(part.most[r] - most))[0]);
        whole.most[r] = most;
        whole.total[r] = whole.total[r] * kept[0] + part.total[r] * added[0];
        for (int64_t i = r * head_dim; i < (r + 1) * head_dim; i += LANES)
            store(whole.out + i, load(whole.out + i) * kept + load(part.out + i) * added);
    }
}

/* Adds to a row a score that weighs no value. */
static void add_sink(mixture row, float score, int64_t head_dim) {
    float most = *row.most > score ? *row.most : score;
    vf kept = splat(exp2_(splat(*row.most - most))[0]);
    *row.total = *row.total * kept[0] + exp2_(splat(score - most))[0];
    for (int64_t i = 0; i < head_dim; i += LANES) store(row.out + i, load(row.out + i) * kept);
}

/* The keys and values of a block, ``count`` of each. */
typedef struct {
    const uint8_t *key, *value;
    int64_t first, count, token; /* token: bytes of a row */
    int64_t window; /* the most recent positions that a row sees */
    int64_t shown;  /* a row sees all keys before this position, if it is not 0, though later than the row */
    float cap;      /* of scores, or 0 */
} block;

/* While a tile is computed, the memory of as many values and of as many keys of the next block is fetched: processors
   themselves look no further ahead than a page. Beyond the end nothing is fetched, and nothing fails. */
INLINE void fetch_soon(block b, int64_t begin, int64_t end) {
    for (int64_t at = begin * b.token; at < end * b.token; at += 64) {
        __builtin_prefetch(b.value + at);
        __builtin_prefetch(b.key + KEYS * b.token + at);
    }
}

/* Weights of a block's keys for V vectors of rows: a lane is a row, so that keys are read as they are stored. Keys after the
   row's position that are not shown, or before the row's window, weigh nothing. */
INLINE void weigh_rows(attention_scratch s, block b, int64_t head_dim, int is_first, const int V) {
    const int T = V * 8 <= SUMS ? 8 : 4; /* keys of a tile */
    vf most[3], best[3], total[3] = {0};
    vi position[3];
#pragma GCC unroll 3
    for (int v = 0; v < V; v++) {
        best[v] = most[v] = load(s.part.most + v * LANES);
        position[v] = *(const vi_anywhere *)(s.position + v * LANES);
    }
    for (int64_t j = 0; j < b.count; j += T) {
        const float *key = s.key + j * head_dim;
        vf sum[8][3];
        if (is_first) fetch_soon(b, j, j + T);
#pragma GCC unroll 8
        for (int t = 0; t < T; t++)
#pragma GCC unroll 3
            for (int v = 0; v < V; v++) sum[t][v] = splat(0);
        for (int64_t d = 0; d < head_dim; d++) {
            vf query[3];
#pragma GCC unroll 3
            for (int v = 0; v < V; v++) {
                vf one = load(s.query + (d * V + v) * LANES);
                if (v < 2) KEEP(one); /* there is no register for the third */
                query[v] = one;
            }
#pragma GCC unroll 8
            for (int t = 0; t < T; t++) {
                vf all = splat(key[t * head_dim + d]);
#pragma GCC unroll 3
                for (int v = 0; v < V; v++) sum[t][v] = fma_(all, query[v], sum[t][v]);
            }
        }
#pragma GCC unroll 8
        for (int t = 0; t < T; t++)
#pragma GCC unroll 3
            for (int v = 0; v < V; v++) {
                vi distance = position[v] - splat_int((int32_t)(b.first + j + t));
                vi earliest = splat_int(b.first + j + t < b.shown ? -(1 << 30) : 0);
                vi sees = (distance >= earliest) & (distance < splat_int((int32_t)b.window));
                vf score = choose(sees, b.cap > 0 ? capped(sum[t][v], splat(b.cap)) : sum[t][v], splat(-1e30f));
                best[v] = larger(best[v], score);
                store(s.weight + ((j + t) * V + v) * LANES, score);
            }
    }
    for (int64_t j = 0; j < b.count; j++)
#pragma GCC unroll 3
        for (int v = 0; v < V; v++) {
            float *at = s.weight + (j * V + v) * LANES;
            vf weight = exp2_(load(at) - best[v]);
            total[v] += weight;
            store(at, weight);
        }
#pragma GCC unroll 3
    for (int v = 0; v < V; v++) {
        vf shrink = exp2_(most[v] - best[v]);
        store(s.shrink + v * LANES, shrink);
        store(s.part.total + v * LANES, load(s.part.total + v * LANES) * shrink + total[v]);
        store(s.part.most + v * LANES, best[v]);
    }
}

static APART void weigh(attention_scratch s, block b, int64_t head_dim, int64_t width, int is_first) {
    switch (width / LANES) {
    case 1: weigh_rows(s, b, head_dim, is_first, 1); break;
    case 2: weigh_rows(s, b, head_dim, is_first, 2); break;
    default: weigh_rows(s, b, head_dim, is_first, 3);
    }
}

/* out = out * shrink + weights times values, for R rows and C columns. */
INLINE void mix_tile(float *out, int64_t head_dim, const float *weight, int64_t stride, const uint8_t *value, block b, const float *shrink,
                     const int R, const int C, const int IN_BYTES) {
    vf sum[ROWS][WIDE / LANES];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int c = 0; c < C / LANES; c++) sum[r][c] = load(out + r * head_dim + c * LANES) * splat(shrink[r]);
    for (int64_t j = 0; j < b.count; j++) {
        vf right[WIDE / LANES];
#pragma GCC unroll 8
        for (int c = 0; c < C / LANES; c++) right[c] = load_cached(value + j * b.token, c * LANES, IN_BYTES);
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            vf left = splat(weight[j * stride + r]);
#pragma GCC unroll 8
            for (int c = 0; c < C / LANES; c++) sum[r][c] = fma_(left, right[c], sum[r][c]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int c = 0; c < C / LANES; c++) store(out + r * head_dim + c * LANES, sum[r][c]);
}

/* The rows of a band, in tiles of about the same height. */
INLINE void mix_rows(attention_scratch s, block b, int64_t head_dim, int64_t rows, int64_t stride, const int IN_BYTES) {
#define COLUMNS(R) (LANES == 8 && R > 2 ? 16 : WIDE)
#define VALUE (b.value + d * (IN_BYTES ? 1 : 2))
#define MIX(R, C) mix_tile(s.part.out + r * head_dim + d, head_dim, s.weight + r, stride, VALUE, b, s.shrink + r, R, C, IN_BYTES)
#define CASE(R) \
    case R: \
        for (; d + COLUMNS(R) <= head_dim; d += COLUMNS(R)) MIX(R, COLUMNS(R)); \
        for (; d < head_dim; d += 16) MIX(R, 16); \
        break;
    for (int64_t r = 0, height, tiles = (rows + ROWS - 1) / ROWS; r < rows; r += height, tiles--) {
        int64_t d = 0;
        height = (rows - r + tiles - 1) / tiles;
        switch (height) { CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) }
    }
#undef CASE
#undef MIX
#undef VALUE
#undef COLUMNS
}

static APART void mix(attention_scratch s, block b, int64_t head_dim, int64_t rows, int64_t stride) {
    mix_rows(s, b, head_dim, rows, stride, 0);
}

/* The scale of a value joins the value's weights, which are fewer numbers than the value's. */
static APART void mix_bytes(attention_scratch s, block b, int64_t head_dim, int64_t rows, int64_t stride) {
    for (int64_t j = 0; j < b.count; j++) {
        vf scale = splat(row_scale(b.value + j * b.token, head_dim));
        for (int64_t i = j * stride; i < (j + 1) * stride; i += LANES) store(s.weight + i, load(s.weight + i) * scale);
    }
    mix_rows(s, b, head_dim, rows, stride, 1);
}

/* Queries ``begin``..``end`` of a span (in q, with row stride ``stride``) against the keys from ``from`` to ``to`` of one key head;
   out is (tokens, heads). Blocks before all windows are skipped: what a row mixes of keys that it does not see adds nothing. */
static void attend(attention_scratch s, head_shape h, const span *p, cache keys, cache values, int64_t kv_head, int64_t begin, int64_t end,
                   int64_t from, int64_t to, int64_t window, const float *q, int64_t stride, mixture out) {
    int64_t group = h.heads / h.kv_heads, rows = (end - begin) * group, padded = whole_bands(rows), n = h.head_dim;
    int64_t start = p->start + begin, shown = p->start + (p->whole ? p->count : end), last = to < shown ? to : shown;
    const uint8_t *k = keys.at + p->slot * keys.slot + kv_head * keys.head, *v = values.at + p->slot * values.slot + kv_head * values.head;
    int64_t seen = start + 1 > window ? (start + 1 - window) / KEYS * KEYS : 0, earliest = from > seen ? from : seen;
    vf scale = splat(LOG2_E * h.scale);
    for (int64_t r = 0; r < rows; r += LANES) {
        int64_t band = r / BAND * BAND, width = band_width(rows - band);
        for (int64_t d = 0; d < n; d += LANES) {
            vf square[LANES];
            for (int64_t i = r; i < r + LANES; i++) {
                const float *row = q + (p->offset + begin + i / group) * stride + (kv_head * group + i % group) * n;
                square[i - r] = i < rows ? load(row + d) * scale : splat(0);
            }
            transpose(square);
            for (int i = 0; i < LANES; i++) store(s.query + band * n + (d + i) * width + r - band, square[i]);
        }
        for (int64_t i = r; i < r + LANES; i++) s.position[i] = (int32_t)(start + i / group);
    }
    clear(s.whole, rows, n);
    for (int64_t first = earliest; first < last; first += KEYS) {
        if (first % PART == 0 || first == earliest) clear(s.part, padded, n);
        int64_t count = last - first < KEYS ? last - first : KEYS;
        int64_t seeing = first > start && !p->whole ? (first - start) * group / BAND * BAND : 0; /* earlier bands see none of these keys */
        block b = {k + first * keys.token, v + first * values.token, first, count, keys.token, window, p->whole ? shown : 0, h.cap};
        for (int64_t j = 0; j < count; j++)
            if (keys.in_bytes)
                unpack_row(s.key + j * n, b.key + j * b.token, n, 1);
            else
                unpack_row(s.key + j * n, b.key + j * b.token, n, 0);
        for (int64_t r = seeing; r < rows; r += BAND) {
            int64_t width = band_width(rows - r);
            attention_scratch band = {s.query + r * n, s.key, s.weight, s.shrink + r, s.position + r, .part = from_row(s.part, r, n)};
            weigh(band, b, n, width, r == seeing);
            int64_t height = rows - r < width ? rows - r : width;
            if (values.in_bytes)
                mix_bytes(band, b, n, height, width);
            else
                mix(band, b, n, height, width);
        }
        if ((first + KEYS) % PART == 0 || first + KEYS >= last) fold(s.whole, s.part, rows, n);
    }
    for (int64_t r = 0; r < rows; r++) {
        int64_t i = (p->offset + begin + r / group) * h.heads + kv_head * group + r % group;
        memcpy(out.out + i * n, s.whole.out + r * n, sizeof(float) * (size_t)n);
        out.most[i] = s.whole.most[r];
        out.total[i] = s.whole.total[r];
    }
}
