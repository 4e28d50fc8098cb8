/* Causal attention over the KV cache, softmax taken block by block of keys (Milakov and Gimelshein 2018, arXiv 1805.02867).
   Blocks have fixed positions counted from zero, and a row's operations are the same whichever rows share its work: a token's
   result does not depend on its batch or chunk. */
#pragma once
#include "simd.h"

enum {
    KEYS = 64,        /* keys of a block */
    ROWS_SHARED = 192, /* queries that share a block of keys once it is unpacked, about */
    ROWS = 6,         /* of a register tile */
#if LANES == 16
    WIDE = 64, /* its columns */
#else
    WIDE = 16,
#endif
};

/* Keys or values of one layer: (slots, kv heads, capacity, head_dim), strides counted in halves. */
typedef struct {
    half *at;
    int64_t slot, head, token;
} cache;

typedef struct {
    int64_t slot, start, count, offset; /* see Span in model.py */
} span;

typedef struct {
    int64_t heads, kv_heads, head_dim;
} head_shape;

/* Working memory of one thread. */
typedef struct {
    float *query;  /* (rows, head_dim), scaled */
    float *key;    /* (head_dim, KEYS) */
    float *value;  /* (KEYS, head_dim) */
    float *score;  /* (rows, KEYS) */
    float *out;    /* (rows, head_dim) */
    float *most;   /* (rows) largest score so far */
    float *total;  /* (rows) sum of the weights so far */
    float *shrink; /* (rows) factor of the earlier blocks */
} attention_scratch;

static int64_t shared_tokens(head_shape s) {
    int64_t group = s.heads / s.kv_heads;
    return group < ROWS_SHARED ? ROWS_SHARED / group : 1;
}

/* out = out * shrink + a b, for R rows and C columns; without shrink, out = a b. */
INLINE void product_tile(float *out, int64_t out_stride, const float *a, int64_t a_stride, const float *b, int64_t b_stride, int64_t depth,
                         const float *shrink, const int R, const int C) {
    vf sum[ROWS][WIDE / LANES];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int c = 0; c < C / LANES; c++) sum[r][c] = shrink ? load(out + r * out_stride + c * LANES) * splat(shrink[r]) : splat(0);
    for (int64_t k = 0; k < depth; k++) {
        vf right[WIDE / LANES];
#pragma GCC unroll 8
        for (int c = 0; c < C / LANES; c++) right[c] = load(b + k * b_stride + c * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            vf left = splat(a[r * a_stride + k]);
#pragma GCC unroll 8
            for (int c = 0; c < C / LANES; c++) sum[r][c] = fma_(left, right[c], sum[r][c]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int c = 0; c < C / LANES; c++) store(out + r * out_stride + c * LANES, sum[r][c]);
}

static void product(float *out, int64_t out_stride, const float *a, int64_t a_stride, const float *b, int64_t b_stride, int64_t depth,
                    const float *shrink, int64_t rows, int64_t columns) {
#define PRODUCT(R, C) \
    product_tile(out + r * out_stride + c, out_stride, a + r * a_stride, a_stride, b + c, b_stride, depth, shrink ? shrink + r : NULL, R, C)
    for (int64_t r = 0, step; r < rows; r += step) {
        step = rows - r >= ROWS ? ROWS : 1;
        int64_t c = 0;
        for (; c + WIDE <= columns; c += WIDE)
            if (step == ROWS) PRODUCT(ROWS, WIDE);
            else PRODUCT(1, WIDE);
        for (; c < columns; c += 16)
            if (step == ROWS) PRODUCT(ROWS, 16);
            else PRODUCT(1, 16);
    }
#undef PRODUCT
}

/* Keys as columns, values as rows, of ``count`` positions. Beyond them keys are zero, as they are multiplied before they are masked. */
static void unpack(attention_scratch s, const half *keys, const half *values, cache c, int64_t count, int64_t head_dim) {
    if (count < KEYS) memset(s.key, 0, sizeof(float) * (size_t)(KEYS * head_dim));
    for (int64_t j = 0; j < count; j += LANES)
        for (int64_t d = 0; d < head_dim; d += LANES) {
            vf square[LANES];
            for (int i = 0; i < LANES; i++) square[i] = j + i < count ? load_half(keys + (j + i) * c.token + d) : splat(0);
            transpose(square);
            for (int i = 0; i < LANES; i++) store(s.key + (d + i) * KEYS + j, square[i]);
        }
    for (int64_t j = 0; j < count; j++)
        for (int64_t d = 0; d < head_dim; d += LANES) store(s.value + j * head_dim + d, load_half(values + j * c.token + d));
}

/* Scores of one row become weights: keys after ``position`` weigh nothing. */
static void weigh(float *score, int64_t first, int64_t position, float *most, float *total, float *shrink) {
    vf best = splat(*most), s[KEYS / LANES], sum = splat(0);
    vi lane;
    for (int i = 0; i < LANES; i++) lane[i] = i;
    for (int i = 0; i < KEYS / LANES; i++) {
        vi visible = lane + splat_int((int32_t)(first + i * LANES)) <= splat_int((int32_t)position);
        s[i] = choose(visible, load(score + i * LANES), splat(-1e30f));
        best = larger(best, s[i]);
    }
    float largest = max_lanes(best);
    for (int i = 0; i < KEYS / LANES; i++) {
        vf weight = exp2_(s[i] - splat(largest));
        sum += weight;
        store(score + i * LANES, weight);
    }
    *shrink = exp2_(splat(*most - largest))[0];
    *total = *total * *shrink + sum_lanes(sum);
    *most = largest;
}

/* Queries ``begin``..``end`` of a span (in q, with row stride ``stride``) against one key head; out is (tokens, heads, head_dim). */
static void attend(attention_scratch s, head_shape h, const span *p, cache keys, cache values, int64_t kv_head, int64_t begin, int64_t end,
                   const float *q, int64_t stride, float *out) {
    int64_t group = h.heads / h.kv_heads, rows = (end - begin) * group, last = p->start + end;
    float scale = LOG2_E / __builtin_sqrtf((float)h.head_dim);
    const half *k = keys.at + p->slot * keys.slot + kv_head * keys.head, *v = values.at + p->slot * values.slot + kv_head * values.head;
    for (int64_t r = 0; r < rows; r++) {
        const float *from = q + (p->offset + begin + r / group) * stride + (kv_head * group + r % group) * h.head_dim;
        for (int64_t d = 0; d < h.head_dim; d++) s.query[r * h.head_dim + d] = from[d] * scale;
        s.most[r] = -1e30f;
        s.total[r] = 0;
    }
    memset(s.out, 0, sizeof(float) * (size_t)(rows * h.head_dim));
    for (int64_t first = 0; first < last; first += KEYS) {
        int64_t count = last - first < KEYS ? last - first : KEYS;
        int64_t row = first > p->start + begin ? (first - p->start - begin) * group : 0; /* earlier rows see none of these keys */
        unpack(s, k + first * keys.token, v + first * values.token, keys, count, h.head_dim);
        product(s.score + row * KEYS, KEYS, s.query + row * h.head_dim, h.head_dim, s.key, KEYS, h.head_dim, NULL, rows - row, KEYS);
        for (int64_t r = row; r < rows; r++)
            weigh(s.score + r * KEYS, first, p->start + begin + r / group, s.most + r, s.total + r, s.shrink + r);
        product(s.out + row * h.head_dim, h.head_dim, s.score + row * KEYS, KEYS, s.value, h.head_dim, count, s.shrink + row, rows - row,
                h.head_dim);
    }
    for (int64_t r = 0; r < rows; r++) {
        float *to = out + ((p->offset + begin + r / group) * h.heads + kv_head * group + r % group) * h.head_dim;
        for (int64_t d = 0; d < h.head_dim; d++) to[d] = s.out[r * h.head_dim + d] / s.total[r];
    }
}
