/* Recurrent layers: a causal convolution of each channel, and the gated delta rule (Yang et al. 2024, arXiv 2412.06464).
   A piece of work goes through all spans of the batch in order, since a span may continue from the state that an earlier span has
   left. Tokens are computed one after the other: no result depends on chunks, batches and threads. recurrence.py is the
   reference. */
#pragma once
#include "attention.h"

enum {
    SHORT_CONVOLUTION = 1, /* kinds; 0 is no recurrence */
    DELTA_NET = 2,
    MOST_TAPS = 64,
    RULE_VECTORS = 2, /* of a head's value columns, whose part of the state stays in the first cache */
};

typedef struct {
    int64_t kind, taps;
    int64_t key_heads, value_heads, key_dim, value_dim; /* of a delta net */
    int64_t tiled; /* value head h belongs to key head h % key_heads, otherwise to h / (value_heads / key_heads) */
} recurrence;

/* The states of one layer, in buffers that are ``stride`` numbers apart: the last inputs (taps - 1, channels), then of a delta
   net (value_heads, key_dim, value_dim). */
typedef struct {
    float *at;
    int64_t stride;
} states;

/* Rows of a layer's inputs, one a token. */
typedef struct {
    float *at;
    int64_t width;
} inputs;

static int64_t key_width(const recurrence *r) { return r->key_heads * r->key_dim; }
static int64_t value_width(const recurrence *r) { return r->value_heads * r->value_dim; }

/* Convolved numbers of a token: queries, keys and values of a delta net. */
static int64_t channels(const recurrence *r, int64_t hidden) {
    return r->kind == DELTA_NET ? 2 * key_width(r) + value_width(r) : hidden;
}

/* Numbers that the first matrix makes of a token. */
static int64_t recurrent_width(const recurrence *r, int64_t hidden) {
    return r->kind == DELTA_NET ? channels(r, hidden) + value_width(r) : 3 * hidden;
}

/* Numbers that the second matrix reads. */
static int64_t mixed_width(const recurrence *r, int64_t hidden) { return r->kind == DELTA_NET ? value_width(r) : hidden; }

/* The state from which a span continues; its numbers count as 0 at the start of a text. */
INLINE vf load_state(states s, int64_t buffer, int64_t at) { return buffer < 0 ? splat(0) : load(s.at + buffer * s.stride + at); }

/* Convolves LANES channels of all spans, in place; ``weight`` is (channels, taps), the newest token's tap last. */
static void convolve(const recurrence *r, const float *weight, int64_t hidden, inputs x, states s, const span *at, int64_t spans, int64_t channel) {
    int64_t taps = r->taps, all = channels(r, hidden);
    vf tap[MOST_TAPS], last[MOST_TAPS];
    for (int64_t k = 0; k < taps; k++)
        for (int64_t i = 0; i < LANES; i++) tap[k][i] = weight[(channel + i) * taps + k];
    for (int64_t n = 0; n < spans; n++) {
        for (int64_t k = 0; k + 1 < taps; k++) last[k] = load_state(s, at[n].state_from, k * all + channel);
        for (int64_t t = at[n].offset; t < at[n].offset + at[n].count; t++) {
            float *row = x.at + t * x.width + channel;
            last[taps - 1] = r->kind == DELTA_NET ? load(row) : load(row) * load(row + 2 * hidden);
            vf sum = splat(0);
            for (int64_t k = 0; k < taps; k++) sum = fma_(tap[k], last[k], sum);
            for (int64_t k = 0; k + 1 < taps; k++) last[k] = last[k + 1];
            store(row, r->kind == DELTA_NET ? silu(sum) : sum * load(row + hidden));
        }
        for (int64_t k = 0; k + 1 < taps; k++) store(s.at + at[n].state_to * s.stride + k * all + channel, last[k]);
    }
}

/* Gives a token's queries and keys the length 1, and scales the queries. */
static void normalize_heads(const recurrence *r, float *row) {
    float scale = 1 / __builtin_sqrtf((float)r->key_dim);
    for (int64_t h = 0; h < 2 * r->key_heads; h++) {
        float *head = row + h * r->key_dim;
        vf sum = splat(0);
        for (int64_t i = 0; i < r->key_dim; i += LANES) sum = fma_(load(head + i), load(head + i), sum);
        float factor = 1 / __builtin_sqrtf(sum_lanes(sum) + 1e-6f) * (h < r->key_heads ? scale : 1);
        for (int64_t i = 0; i < r->key_dim; i += LANES) store(head + i, load(head + i) * splat(factor));
    }
}

/* One token's step of the delta rule on V vectors of columns of a head's state: decays it by ``decay``, adds the key's correction,
   and returns the query's sums. The even and the odd rows are added apart, for shorter chains. */
INLINE void apply_rule(float *state, int64_t rows, const float *query, const float *key, float *value, float decay, float beta, const int V) {
    vf sum[2][RULE_VECTORS] = {{{0}}}, out[2][RULE_VECTORS] = {{{0}}}, change[RULE_VECTORS];
    for (int64_t k = 0; k < rows; k += 2)
        for (int i = 0; i < 2; i++)
            for (int v = 0; v < V; v++) sum[i][v] = fma_(splat(key[k + i]), load(state + ((k + i) * V + v) * LANES), sum[i][v]);
    for (int v = 0; v < V; v++) change[v] = (load(value + v * LANES) - (sum[0][v] + sum[1][v]) * splat(decay)) * splat(beta);
    for (int64_t k = 0; k < rows; k += 2)
        for (int i = 0; i < 2; i++)
            for (int v = 0; v < V; v++) {
                float *at = state + ((k + i) * V + v) * LANES;
                vf new = fma_(splat(key[k + i]), change[v], load(at) * splat(decay));
                store(at, new);
                out[i][v] = fma_(splat(query[k + i]), new, out[i][v]);
            }
    for (int v = 0; v < V; v++) store(value + v * LANES, out[0][v] + out[1][v]);
}

/* The delta rule on V vectors of a value head's columns from ``column`` on, for all spans; the outputs replace the values.
   ``gates`` is (tokens, 2, value_heads): the factors of corrections and of decay. ``memory`` is (key_dim, V vectors). */
INLINE void run_rule(const recurrence *r, inputs x, const float *gates, states s, const span *at, int64_t spans, int64_t head, int64_t column, float *memory, const int V) {
    int64_t key_head = r->tiled ? head % r->key_heads : head / (r->value_heads / r->key_heads), heads = r->value_heads;
    int64_t first = (r->taps - 1) * channels(r, 0) + head * r->key_dim * r->value_dim + column;
    for (int64_t n = 0; n < spans; n++) {
        for (int64_t k = 0; k < r->key_dim; k++)
            for (int v = 0; v < V; v++)
                store(memory + (k * V + v) * LANES, load_state(s, at[n].state_from, first + k * r->value_dim + v * LANES));
        for (int64_t t = at[n].offset; t < at[n].offset + at[n].count; t++) {
            float *row = x.at + t * x.width, *key = row + key_width(r) + key_head * r->key_dim;
            float *value = row + 2 * key_width(r) + head * r->value_dim + column;
            const float *gate = gates + t * 2 * heads + head;
            apply_rule(memory, r->key_dim, row + key_head * r->key_dim, key, value, gate[heads], gate[0], V);
        }
        float *to = s.at + at[n].state_to * s.stride + first;
        for (int64_t k = 0; k < r->key_dim; k++)
            for (int v = 0; v < V; v++) store(to + k * r->value_dim + v * LANES, load(memory + (k * V + v) * LANES));
    }
}

/* The factors of corrections and of decay of a token: the logistic function, and exp(decay * ln(1 + exp(x))). */
static float logistic(float x) { return 1 / (1 + expf(-x)); }
static float decayed(float decay, float x) { return expf(decay * ((x > 0 ? x : 0) + log1pf(expf(x > 0 ? -x : x)))); }
