/* A whole forward pass of the lean decoder in one call: weights of two to eight bits, activations of eight in groups of 32,
   float32 in between; or weights of sixteen bits and activations of float32.
   library.py compiles this file, native_structs.py declares the structures below a second time; decoder.py is the reference. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
enum { GUARD = 64 }; /* bytes behind each piece of working memory that nothing may touch */
#else
enum { GUARD = 0 };
#endif

#include "attention.h"
#include "experts.h"
#include "logit_scores.h"
#include "memory_reading.h"
#include "recurrence.h"
#include "token_mask.h"
#include "thread_pool.h"

typedef struct {
    matrix qkv, o, gate_up, down; /* qkv and o: before and after the mixing; gate_up: its parts' blocks in turn */
    /* Norms, or NULL: of attention's input, of queries and keys, of the MLP's input, and of both outputs. */
    const float *input_norm, *q_norm, *k_norm, *post_norm, *attention_norm, *mlp_norm;
    const float *sinks; /* (heads) one more score of each head, which weighs no value, or NULL */
    /* Of a recurrence, see recurrence.h: taps, weights and biases of the gates, and the norm of a delta net's outputs. */
    const float *convolution, *beta, *alpha, *decay, *decay_bias, *mixing_norm;
    const float *router, *router_bias; /* (experts, hidden) and (experts), or NULL */
    const float *key_balance; /* (kv_heads, head_dim), or NULL: divides keys and multiplies queries; see key_balance.py */
    int64_t norms_heads; /* 0: queries of all heads are normed together, and keys */
    const float *cosine, *sine; /* (context, rotated), or NULL: queries and keys are not rotated */
    int64_t window;  /* the most recent positions that a token sees */
    int64_t recurrent, state; /* 1 instead of attention, and where the layer's numbers begin in a buffer of states */
} layer;

typedef struct {
    int64_t layers, hidden, intermediate, heads, kv_heads, head_dim, vocab;
    int64_t rotated; /* of a head's dimensions, the first */
    int64_t gate;    /* of the MLP, in matrix.h */
    int64_t experts, active; /* 0 without experts; a matrix of the MLP then has one expert's rows below the other's */
    int64_t normalized;      /* the weights of a token's experts add up to one */
    int64_t has_floats; /* a matrix is of floats */
    int64_t low; /* the most that the activations of a token are lowered to, 0 without an adapter */
    float eps;
    float embedding_scale, attention_scale, residual_scale, logit_scale;
    float score_cap, logit_cap; /* or 0 */
    float query_growth;     /* queries are multiplied by 1 + growth * ln(1 + whole intervals before the position), */
    int64_t query_interval; /* unless the growth is 0 */
    int64_t gates_attention; /* what a head mixes is multiplied by the logistic function of a gate: the last part of qkv */
    recurrence recurrence;
    const float *norm;
    const int64_t *axis; /* (rotated / 2) of each angle, see rope_axes in decoder_config.py, or NULL */
    matrix embedding, head;
    const layer *layer;
} decoder;

typedef struct {
    int64_t tokens, spans, rows;
    const int64_t *ids;
    const span *span;
    const int64_t *row; /* the tokens whose hidden states are wanted */
    uint8_t *const *keys, *const *values; /* of each layer; NULL of a recurrent layer */
    int64_t slot_stride, head_stride, token_stride, in_bytes; /* see cache_rows.h */
    float *states;        /* (buffers, state_stride) of recurrent layers */
    int64_t state_stride;
    const volatile int32_t *interrupt; /* NULL, or what ends the pass between two layers when it is not 0 */
    int32_t *expert; /* NULL, or what takes the experts and their weights (layers, tokens or rows if they are more, active); */
    float *weight;   /* of the last layer only wanted rows are written */
    const float *embedded; /* (given rows, hidden) of tokens with the ids -1, -2, ... */
    const int64_t *axes;   /* NULL, or (tokens, 3): positions in time, height and width, by which heads are rotated */
} batch;

/* All working memory of a pass, one piece after another. */
typedef struct {
    float *x, *wanted; /* (tokens, hidden), (rows, hidden): the residual stream; of the last layer only wanted rows are finished */
    float *qkv;        /* (tokens, width of the widest layer): the inputs of the mixing */
    float *branch;     /* (tokens, hidden): an output of attention or MLP that is normed, or no memory */
    int64_t parts;     /* into which threads split each sequence */
    mixture mixed;     /* (parts, tokens, heads) */
    quantized q;       /* the next input of a matrix; as wide as the widest row */
    quantized gated;   /* (tokens, intermediate) */
    float *low;        /* (tokens, low) */
    choices choices;   /* (tokens, active) */
    shares shares;     /* of the experts */
    float *row;        /* (threads, row_width): a token's normed row and the scores of its experts, or its mixed row */
    float *gates;      /* (tokens, 2, value_heads) of a delta net */
    float *rule;       /* (threads, key_dim, RULE_VECTORS vectors): a part of a head's state */
    float *added;      /* (rows of the experts, hidden): their outputs */
    attention_scratch *attention; /* one a thread */
    uint8_t *unpacked;            /* (threads, panel): the numbers of the widest matrix's panel */
    int64_t panel;                /* bytes */
} scratch;

typedef struct {
    pool *pool;
    const decoder *decoder;
    const batch *batch;
    scratch s;
    float *out;
} pass;

static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* Cuts ``bytes`` off the memory at *at, or only counts them where there is no memory yet. */
static void *cut(char *memory, size_t *at, size_t bytes) {
    size_t start = *at, end = start + bytes;
    *at = (end + GUARD + 63) / 64 * 64;
#ifdef __SANITIZE_ADDRESS__
    if (memory) {
        ASAN_UNPOISON_MEMORY_REGION(memory + start, *at - start); /* another call has cut the same memory elsewhere */
        ASAN_POISON_MEMORY_REGION(memory + end, *at - end);
    }
#endif
    return memory ? memory + start : NULL;
}

static quantized cut_quantized(char *memory, size_t *at, int64_t tokens, int64_t columns, int64_t has_floats) {
    size_t groups = (size_t)(whole_tiles(tokens) * (columns / GROUP));
    quantized q;
    q.byte = cut(memory, at, groups * GROUP);
    q.scale = cut(memory, at, groups * sizeof(float));
    q.total = cut(memory, at, groups * sizeof(float));
    q.minus = cut(memory, at, groups * HALVES * sizeof(int32_t));
    q.value = has_floats ? cut(memory, at, groups * GROUP * sizeof(float)) : NULL;
    return q;
}

static mixture cut_mixture(char *memory, size_t *at, int64_t rows, int64_t head_dim) {
    mixture m;
    m.out = cut(memory, at, sizeof(float) * (size_t)(rows * head_dim));
    m.most = cut(memory, at, sizeof(float) * (size_t)rows);
    m.total = cut(memory, at, sizeof(float) * (size_t)rows);
    return m;
}

static int norms_outputs(const decoder *d) { return d->layers && (d->layer->attention_norm || d->layer->mlp_norm); }

/* The numbers of a token before the mixing by attention: queries, keys, values, and gates if there are any. */
static int64_t attention_width(const decoder *d) { return (d->heads * (1 + d->gates_attention) + 2 * d->kv_heads) * d->head_dim; }

static int64_t mixing_width(const decoder *d, const layer *l) {
    return l->recurrent ? recurrent_width(&d->recurrence, d->hidden) : attention_width(d);
}

static int64_t widest_mixed(const decoder *d) {
    return most(d->heads * d->head_dim, d->recurrence.kind ? mixed_width(&d->recurrence, d->hidden) : 0);
}

static int64_t row_width(const decoder *d) { return most(d->hidden + d->experts, widest_mixed(d)); }

static head_shape shape_of(const decoder *d) {
    return (head_shape){d->heads, d->kv_heads, d->head_dim, d->attention_scale, d->score_cap * LOG2_E};
}

/* The memory of a pass of so many tokens, whose longest sequence ends at ``end``. */
static size_t lay_out(const pool *p, const decoder *d, int64_t tokens, int64_t end, char *memory, scratch *s) {
    head_shape h = shape_of(d);
    int64_t rows = whole_bands(shared_tokens(h) * (d->heads / d->kv_heads));
    size_t at = 0, f = sizeof(float);
    s->x = cut(memory, &at, f * tokens * d->hidden);
    s->wanted = cut(memory, &at, f * tokens * d->hidden);
    s->qkv = cut(memory, &at, f * tokens * most(attention_width(d), d->recurrence.kind ? recurrent_width(&d->recurrence, d->hidden) : 0));
    s->branch = cut(memory, &at, norms_outputs(d) ? f * tokens * d->hidden : 0);
    s->parts = split_parts(tokens, end);
    s->mixed = cut_mixture(memory, &at, s->parts * tokens * d->heads, d->head_dim);
    int64_t inputs = d->experts ? expert_rows(tokens, d->experts, d->active) : tokens; /* of the MLP */
    s->q = cut_quantized(memory, &at, inputs, most(d->hidden, widest_mixed(d)), d->has_floats);
    s->gated = cut_quantized(memory, &at, inputs, d->intermediate, d->has_floats);
    s->low = cut(memory, &at, f * tokens * d->low);
    s->choices.expert = cut(memory, &at, sizeof(int32_t) * tokens * d->active);
    s->choices.weight = cut(memory, &at, f * tokens * d->active);
    s->choices.row = cut(memory, &at, sizeof(int64_t) * tokens * d->active);
    s->shares.begin = cut(memory, &at, sizeof(int64_t) * d->experts);
    s->shares.count = cut(memory, &at, sizeof(int64_t) * d->experts);
    s->row = cut(memory, &at, d->experts || d->recurrence.kind ? f * p->threads * row_width(d) : 0);
    s->gates = cut(memory, &at, f * tokens * 2 * d->recurrence.value_heads);
    s->rule = cut(memory, &at, f * p->threads * d->recurrence.key_dim * RULE_VECTORS * LANES);
    s->added = cut(memory, &at, d->experts ? f * inputs * d->hidden : 0);
    attention_scratch *all = cut(memory, &at, sizeof(attention_scratch) * p->threads);
    s->attention = all;
    for (int i = 0; i < p->threads; i++) {
        attention_scratch a = {
            .query = cut(memory, &at, f * rows * d->head_dim),
            .key = cut(memory, &at, f * KEYS * d->head_dim),
            .weight = cut(memory, &at, f * KEYS * BAND),
            .shrink = cut(memory, &at, f * rows),
            .position = cut(memory, &at, sizeof(int32_t) * rows),
            .part = cut_mixture(memory, &at, rows, d->head_dim),
            .whole = cut_mixture(memory, &at, most(rows, d->heads), d->head_dim),
        };
        if (all) all[i] = a;
    }
    s->panel = PANEL * BLOCK * most(d->intermediate, most(d->hidden, widest_mixed(d)));
    s->unpacked = cut(memory, &at, (size_t)(s->panel * p->threads));
    return at;
}

/* The factor of a root mean square norm (arXiv 1910.07467). */
static float norm_factor(const float *x, int64_t n, float eps) {
    vf sum = splat(0);
    for (int64_t i = 0; i < n; i += LANES) sum = fma_(load(x + i), load(x + i), sum);
    return 1.0f / __builtin_sqrtf(sum_lanes(sum) / (float)n + eps);
}

static void norm_vector(float *x, int64_t n, float eps, const float *weight) {
    float factor = norm_factor(x, n, eps);
    for (int64_t i = 0; i < n; i++) x[i] = x[i] * factor * weight[i];
}

static void rotate(float *x, const float *cosine, const float *sine, int64_t n) {
    for (int64_t i = 0; i < n / 2; i++) {
        float a = x[i], b = x[i + n / 2];
        x[i] = a * cosine[i] - b * sine[i];
        x[i + n / 2] = b * cosine[i] + a * sine[i];
    }
}

/* Rotates each pair by the token's position on the pair's axis. */
static void rotate_on_axes(float *x, const layer *l, const int64_t *position, const int64_t *axis, int64_t n) {
    for (int64_t i = 0; i < n / 2; i++) {
        int64_t at = position[axis[i]] * n + i;
        float a = x[i], b = x[i + n / 2];
        x[i] = a * l->cosine[at] - b * l->sine[at];
        x[i + n / 2] = b * l->cosine[at] + a * l->sine[at];
    }
}

/* Norms and rotates a token's queries and keys in place, and writes its keys and values to the cache. */
static void place(const pass *p, const layer *l, const span *at, int64_t i, uint8_t *keys, uint8_t *values) {
    const decoder *d = p->decoder;
    const batch *b = p->batch;
    int64_t n = d->head_dim, position = at->start + i;
    float *q = p->s.qkv + (at->offset + i) * attention_width(d), *k = q + d->heads * n, *v = k + d->kv_heads * n;
    if (l->q_norm && !l->norms_heads) norm_vector(q, d->heads * n, d->eps, l->q_norm);
    if (l->k_norm && !l->norms_heads) norm_vector(k, d->kv_heads * n, d->eps, l->k_norm);
    for (int64_t h = 0; h < d->heads + d->kv_heads; h++) {
        const float *norm = h < d->heads ? l->q_norm : l->k_norm;
        if (norm && l->norms_heads) norm_vector(q + h * n, n, d->eps, norm);
        if (l->cosine && b->axes)
            rotate_on_axes(q + h * n, l, b->axes + (at->offset + i) * 3, d->axis, d->rotated);
        else if (l->cosine)
            rotate(q + h * n, l->cosine + position * d->rotated, l->sine + position * d->rotated, d->rotated);
    }
    float grown = d->query_growth != 0 ? 1 + d->query_growth * log1pf((float)(position / d->query_interval)) : 1;
    for (int64_t i = 0; grown != 1 && i < d->heads * n; i++) q[i] *= grown;
    for (int64_t i = 0; l->key_balance && i < d->heads * n; i++)
        q[i] *= l->key_balance[i / (d->heads / d->kv_heads * n) * n + i % n];
    for (int64_t i = 0; l->key_balance && i < d->kv_heads * n; i++) k[i] /= l->key_balance[i];
    for (int64_t h = 0; h < d->kv_heads; h++) {
        int64_t to = at->slot * b->slot_stride + h * b->head_stride + position * b->token_stride;
        store_row(keys + to, k + h * n, n, b->in_bytes);
        store_row(values + to, v + h * n, n, b->in_bytes);
    }
}

/* The phases of a pass: each runs on all threads, on what the one before has finished. A phase's argument, with which threads
   agree on their work, is on the stack of the thread that leads the pass. */
typedef struct {
    const pass *p;
    int layer;
    const float *x; /* (rows, hidden): what is normed */
    int64_t rows;
    const float *norm;
    const int64_t *only; /* the tokens that the rows are of, or NULL: all */
    float *residual;
} step;

/* The pieces of work are (span, queries, key head, part of the keys), the longest first. */
static void attend_all(void *argument, int thread) {
    const step *now = argument;
    const pass *p = now->p;
    const decoder *d = p->decoder;
    const batch *b = p->batch;
    head_shape h = shape_of(d);
    cache keys = {b->keys[now->layer], b->slot_stride, b->head_stride, b->token_stride, b->in_bytes}, values = keys;
    values.at = b->values[now->layer];
    int64_t shared = shared_tokens(h), parts = p->s.parts, skipped = 0, piece = take(p->pool);
    for (int64_t s = 0; s < b->spans; s++) {
        const span *at = b->span + s;
        int64_t chunks = (at->count + shared - 1) / shared, pieces = chunks * d->kv_heads * parts;
        for (; piece < skipped + pieces; piece = take(p->pool)) {
            int64_t i = piece - skipped, part = i % parts, head = i / parts % d->kv_heads;
            int64_t begin = (chunks - 1 - i / parts / d->kv_heads) * shared;
            int64_t end = begin + shared < at->count ? begin + shared : at->count;
            int64_t from = part * PART, to = parts > 1 ? from + PART : at->start + at->count;
            attend(p->s.attention[thread], h, at, keys, values, head, begin, end, from, to, d->layer[now->layer].window, p->s.qkv,
                   attention_width(d), from_row(p->s.mixed, part * b->tokens * d->heads, d->head_dim));
        }
        skipped += pieces;
    }
}

static void place_all(void *argument, int thread) {
    (void)thread;
    const step *now = argument;
    const pass *p = now->p;
    const batch *b = p->batch;
    int64_t skipped = 0, token = take(p->pool);
    for (int64_t i = 0; i < b->spans; skipped += b->span[i++].count)
        for (; token < skipped + b->span[i].count; token = take(p->pool))
            place(p, p->decoder->layer + now->layer, b->span + i, token - skipped, b->keys[now->layer], b->values[now->layer]);
}

/* Rows of x, normed if there is a norm, as bytes. */
static void quantize_normed(void *argument, int thread) {
    (void)thread;
    const step *now = argument;
    const pass *p = now->p;
    const decoder *d = p->decoder;
    for (int64_t i; (i = take(p->pool)) < now->rows;) {
        const float *row = now->x + i * d->hidden;
        quantize(p->s.q, i, d->hidden, row, now->norm ? norm_factor(row, d->hidden, d->eps) : 1, now->norm);
    }
}

/* The result of attention, as bytes; of the last layer only wanted rows, whose residual stream is also copied. */
static void quantize_mixed(void *argument, int thread) {
    const step *now = argument;
    const pass *p = now->p;
    const decoder *d = p->decoder;
    mixture whole = p->s.attention[thread].whole;
    for (int64_t i; (i = take(p->pool)) < now->rows;) {
        int64_t from = now->only ? now->only[i] : i;
        clear(whole, d->heads, d->head_dim);
        for (int64_t part = 0; part < p->s.parts; part++)
            fold(whole, from_row(p->s.mixed, (part * p->batch->tokens + from) * d->heads, d->head_dim), d->heads, d->head_dim);
        const float *sinks = d->layer[now->layer].sinks;
        for (int64_t h = 0; sinks && h < d->heads; h++) add_sink(from_row(whole, h, d->head_dim), sinks[h] * LOG2_E, d->head_dim);
        for (int64_t h = 0; h < d->heads; h++)
            for (int64_t k = 0; k < d->head_dim; k++) whole.out[h * d->head_dim + k] /= whole.total[h];
        const float *gate = p->s.qkv + from * attention_width(d) + (d->heads + 2 * d->kv_heads) * d->head_dim;
        for (int64_t k = 0; d->gates_attention && k < d->heads * d->head_dim; k += LANES)
            store(whole.out + k, load(whole.out + k) / (splat(1.0f) + exp2_(load(gate + k) * splat(-LOG2_E))));
        quantize(p->s.q, i, d->heads * d->head_dim, whole.out, 1, NULL);
        if (now->only) memcpy(now->residual + i * d->hidden, p->s.x + from * d->hidden, sizeof(float) * (size_t)d->hidden);
    }
}

static states states_of(const step *now) {
    const batch *b = now->p->batch;
    return (states){b->states + now->p->decoder->layer[now->layer].state, b->state_stride};
}

static inputs inputs_of(const step *now) {
    return (inputs){now->p->s.qkv, mixing_width(now->p->decoder, now->p->decoder->layer + now->layer)};
}

static void convolve_all(void *argument, int thread) {
    (void)thread;
    const step *now = argument;
    const decoder *d = now->p->decoder;
    const recurrence *r = &d->recurrence;
    const batch *b = now->p->batch;
    for (int64_t i; (i = take(now->p->pool) * LANES) < channels(r, d->hidden);)
        convolve(r, d->layer[now->layer].convolution, d->hidden, inputs_of(now), states_of(now), b->span, b->spans, i);
}

static void norm_row(const step *now, int64_t token, float *row) {
    const decoder *d = now->p->decoder;
    const float *x = now->x + token * d->hidden;
    float factor = now->norm ? norm_factor(x, d->hidden, d->eps) : 1;
    for (int64_t k = 0; k < d->hidden; k++) row[k] = x[k] * factor * (now->norm ? now->norm[k] : 1);
}

static float dot_row(const float *weight, const float *row, int64_t n) {
    vf sum = splat(0);
    for (int64_t k = 0; k < n; k += LANES) sum = fma_(load(weight + k), load(row + k), sum);
    return sum_lanes(sum);
}

/* The gates of a delta net, and its normalized queries and keys. */
static void gate_all(void *argument, int thread) {
    const step *now = argument;
    const pass *p = now->p;
    const decoder *d = p->decoder;
    const layer *l = d->layer + now->layer;
    const recurrence *r = &d->recurrence;
    inputs x = inputs_of(now);
    float *row = p->s.row + thread * row_width(d);
    for (int64_t i; (i = take(p->pool)) < now->rows;) {
        float *gate = p->s.gates + i * 2 * r->value_heads;
        norm_row(now, i, row);
        for (int64_t h = 0; h < r->value_heads; h++) {
            gate[h] = logistic(dot_row(l->beta + h * d->hidden, row, d->hidden));
            gate[r->value_heads + h] = decayed(l->decay[h], dot_row(l->alpha + h * d->hidden, row, d->hidden) + l->decay_bias[h]);
        }
        normalize_heads(r, x.at + i * x.width);
    }
}

/* The pieces of work are (value head, columns). */
static void rule_all(void *argument, int thread) {
    const step *now = argument;
    const pass *p = now->p;
    const recurrence *r = &p->decoder->recurrence;
    const batch *b = p->batch;
    int64_t wide = RULE_VECTORS * LANES, pieces = (r->value_dim + wide - 1) / wide;
    float *memory = p->s.rule + thread * r->key_dim * wide;
    for (int64_t i; (i = take(p->pool)) < r->value_heads * pieces;) {
        int64_t head = i / pieces, column = i % pieces * wide;
        if (column + wide <= r->value_dim)
            run_rule(r, inputs_of(now), p->s.gates, states_of(now), b->span, b->spans, head, column, memory, RULE_VECTORS);
        else
            for (; column < r->value_dim; column += LANES)
                run_rule(r, inputs_of(now), p->s.gates, states_of(now), b->span, b->spans, head, column, memory, 1);
    }
}

/* Mixes the inputs of a recurrent layer in place, and writes states. */
static void recur(const step *now) {
    const pass *p = now->p;
    run(p->pool, convolve_all, (void *)now);
    if (p->decoder->recurrence.kind != DELTA_NET) return;
    run(p->pool, gate_all, (void *)now);
    run(p->pool, rule_all, (void *)now);
}

/* The result of a recurrence, as bytes; a delta net's outputs are normed and gated. Rows are those of quantize_mixed(). */
static void quantize_recurrent(void *argument, int thread) {
    const step *now = argument;
    const pass *p = now->p;
    const decoder *d = p->decoder;
    const recurrence *r = &d->recurrence;
    inputs x = inputs_of(now);
    float *row = p->s.row + thread * row_width(d);
    for (int64_t i; (i = take(p->pool)) < now->rows;) {
        int64_t from = now->only ? now->only[i] : i;
        const float *mixed = x.at + from * x.width, *gate = mixed + channels(r, d->hidden);
        if (r->kind == DELTA_NET) {
            mixed += 2 * key_width(r);
            const float *norm = d->layer[now->layer].mixing_norm;
            for (int64_t h = 0; h < value_width(r); h += r->value_dim) {
                vf factor = splat(norm_factor(mixed + h, r->value_dim, d->eps));
                for (int64_t k = 0; k < r->value_dim; k += LANES)
                    store(row + h + k, load(mixed + h + k) * factor * load(norm + k) * silu(load(gate + h + k)));
            }
            mixed = row;
        }
        quantize(p->s.q, i, mixed_width(r, d->hidden), mixed, 1, NULL);
        if (now->only) memcpy(now->residual + i * d->hidden, p->s.x + from * d->hidden, sizeof(float) * (size_t)d->hidden);
    }
}

/* A matrix times activations. */
typedef struct {
    const pass *p;
    const matrix *m;
    quantized a;
    int64_t tokens;
    target to;
} projection;

static void lower_all(void *argument, int thread) {
    (void)thread;
    const projection *j = argument;
    lower(j->p->pool, j->m->adapter, j->m->groups, j->a, j->tokens, j->p->s.low);
}

static void multiply_all(void *argument, int thread) {
    const projection *j = argument;
    multiply(j->p->pool, j->m, j->a, j->tokens, &j->to, j->p->s.unpacked + thread * j->p->s.panel);
}

/* A matrix times activations, with what its adapter adds. */
static void project(const pass *p, const matrix *m, quantized a, int64_t tokens, target to) {
    to.low = p->s.low;
    projection j = {p, m, a, tokens, to};
    if (m->adapter) run(p->pool, lower_all, &j);
    run(p->pool, multiply_all, &j);
}

/* Adds the normed output of attention or MLP to the residual stream. */
static void add_normed(void *argument, int thread) {
    (void)thread;
    const step *now = argument;
    const pass *p = now->p;
    const decoder *d = p->decoder;
    for (int64_t i; (i = take(p->pool)) < now->rows;) {
        const float *row = p->s.branch + i * d->hidden;
        float factor = norm_factor(row, d->hidden, d->eps) * d->residual_scale;
        for (int64_t k = 0; k < d->hidden; k++) now->residual[i * d->hidden + k] += row[k] * factor * now->norm[k];
    }
}

/* Adds a matrix times activations, normed if there is a norm, to rows of the residual stream. */
static void add_output(const pass *p, const matrix *m, quantized a, int64_t rows, float *x, const float *norm) {
    const decoder *d = p->decoder;
    if (!norm) {
        project(p, m, a, rows, (target){.sink = ADD, .out = x, .width = d->hidden, .scale = d->residual_scale});
        return;
    }
    step now = {.p = p, .rows = rows, .norm = norm, .residual = x};
    project(p, m, a, rows, (target){.sink = STORE, .out = p->s.branch, .width = d->hidden});
    run(p->pool, add_normed, &now);
}

static void route_all(void *argument, int thread) {
    const step *now = argument;
    const pass *p = now->p;
    const decoder *d = p->decoder;
    float *row = p->s.row + thread * row_width(d), *score = row + d->hidden;
    const float *router = d->layer[now->layer].router, *bias = d->layer[now->layer].router_bias;
    for (int64_t i; (i = take(p->pool)) < now->rows;) {
        norm_row(now, i, row);
        for (int64_t e = 0; e < d->experts; e++) score[e] = dot_row(router + e * d->hidden, row, d->hidden) + (bias ? bias[e] : 0);
        choose_experts(score, d->experts, d->active, d->normalized, p->s.choices.expert + i * d->active, p->s.choices.weight + i * d->active);
    }
}

/* A token's row, normed if there is a norm, as the input of each of its experts. */
static void quantize_routed(void *argument, int thread) {
    (void)thread;
    const step *now = argument;
    const pass *p = now->p;
    const decoder *d = p->decoder;
    for (int64_t i; (i = take(p->pool)) < now->rows;) {
        const float *x = now->x + i * d->hidden;
        float factor = now->norm ? norm_factor(x, d->hidden, d->eps) : 1;
        for (int64_t k = i * d->active; k < (i + 1) * d->active; k++) quantize(p->s.q, p->s.choices.row[k], d->hidden, x, factor, now->norm);
    }
}

static void multiply_routed(void *argument, int thread) {
    const projection *j = argument;
    const scratch *s = &j->p->s;
    multiply_experts(j->p->pool, j->m, j->a, s->shares, j->p->decoder->experts, &j->to, s->unpacked + thread * s->panel);
}

/* Adds the weighted outputs of each token's experts, normed if there is a norm, to the residual stream. */
static void add_routed(void *argument, int thread) {
    const step *now = argument;
    const pass *p = now->p;
    const decoder *d = p->decoder;
    float *sum = p->s.row + thread * row_width(d);
    const float *norm = d->layer[now->layer].mlp_norm;
    for (int64_t i; (i = take(p->pool)) < now->rows;) {
        for (int64_t k = 0; k < d->hidden; k++) sum[k] = 0;
        for (int64_t c = i * d->active; c < (i + 1) * d->active; c++) {
            const float *added = p->s.added + p->s.choices.row[c] * d->hidden;
            for (int64_t k = 0; k < d->hidden; k++) sum[k] += added[k] * p->s.choices.weight[c];
        }
        float factor = (norm ? norm_factor(sum, d->hidden, d->eps) : 1) * d->residual_scale;
        for (int64_t k = 0; k < d->hidden; k++) now->residual[i * d->hidden + k] += sum[k] * factor * (norm ? norm[k] : 1);
    }
}

/* The MLP of experts on rows of the residual stream. */
static void add_experts(const step *now) {
    const pass *p = now->p;
    const decoder *d = p->decoder;
    const layer *l = d->layer + now->layer;
    const scratch *s = &p->s;
    run(p->pool, route_all, (void *)now);
    const batch *b = p->batch;
    if (b->expert) {
        int64_t at = now->layer * most(b->tokens, b->rows) * d->active;
        size_t count = (size_t)(now->rows * d->active);
        memcpy(b->expert + at, s->choices.expert, count * sizeof(int32_t));
        memcpy(b->weight + at, s->choices.weight, count * sizeof(float));
    }
    share_out(s->choices, s->shares, now->rows, d->experts, d->active);
    run(p->pool, quantize_routed, (void *)now);
    run(p->pool, multiply_routed, &(projection){p, &l->gate_up, s->q, 0, {.sink = GATE, .gated = s->gated, .gate = d->gate}});
    run(p->pool, multiply_routed, &(projection){p, &l->down, s->gated, 0, {.sink = STORE, .out = s->added, .width = d->hidden}});
    run(p->pool, add_routed, (void *)now);
}

static void run_layer(const pass *p, int index) {
    const decoder *d = p->decoder;
    const batch *b = p->batch;
    const layer *l = d->layer + index;
    const scratch *s = &p->s;
    int last = index == d->layers - 1;
    int64_t rows = last ? b->rows : b->tokens;
    float *x = last ? s->wanted : s->x;
    step now = {.p = p, .layer = index, .x = s->x, .rows = b->tokens, .norm = l->input_norm};

    run(p->pool, quantize_normed, &now);
    project(p, &l->qkv, s->q, b->tokens, (target){.sink = STORE, .out = s->qkv, .width = mixing_width(d, l)});
    if (l->recurrent)
        recur(&now);
    else
        run(p->pool, place_all, &now);
    if (!rows) return; /* of a prompt's earlier chunks only keys, values and states are wanted */
    if (!l->recurrent) run(p->pool, attend_all, &now);
    now = (step){.p = p, .layer = index, .x = x, .rows = rows, .norm = l->post_norm, .only = last ? b->row : NULL, .residual = x};
    run(p->pool, l->recurrent ? quantize_recurrent : quantize_mixed, &now);
    add_output(p, &l->o, s->q, rows, x, l->attention_norm);
    if (l->router) {
        add_experts(&now);
        return;
    }
    run(p->pool, quantize_normed, &now);
    project(p, &l->gate_up, s->q, rows, (target){.sink = GATE, .gated = s->gated, .gate = d->gate});
    add_output(p, &l->down, s->gated, rows, x, l->mlp_norm);
}

static void embed(void *argument, int thread) {
    (void)thread;
    const pass *p = argument;
    const decoder *d = p->decoder;
    for (int64_t i; (i = take(p->pool)) < p->batch->tokens;) {
        float *row = p->s.x + i * d->hidden;
        int64_t id = p->batch->ids[i];
        if (id < 0) {
            memcpy(row, p->batch->embedded + (-1 - id) * d->hidden, sizeof(float) * (size_t)d->hidden);
            continue;
        }
        read_row(d->embedding.part, id, row);
        for (int64_t k = 0; k < d->hidden; k++) row[k] *= d->embedding_scale;
    }
}

static void norm_wanted(void *argument, int thread) {
    (void)thread;
    const pass *p = argument;
    const decoder *d = p->decoder;
    for (int64_t i; (i = take(p->pool)) < p->batch->rows;) {
        const float *row = p->s.wanted + i * d->hidden;
        float factor = norm_factor(row, d->hidden, d->eps);
        for (int64_t k = 0; k < d->hidden; k++) p->out[i * d->hidden + k] = row[k] * factor * d->norm[k];
    }
}

static void quantize_hidden(void *argument, int thread) {
    (void)thread;
    const pass *p = argument;
    const decoder *d = p->decoder;
    for (int64_t i; (i = take(p->pool)) < p->batch->rows;) quantize(p->s.q, i, d->hidden, p->out + i * d->hidden, d->logit_scale, NULL);
}

typedef struct {
    const pass *p;
    float *logits;
} capping;

static void cap_logits(void *argument, int thread) {
    (void)thread;
    const capping *now = argument;
    const decoder *d = now->p->decoder;
    int64_t pieces = d->vocab / BLOCK * now->p->batch->rows, run = 256; /* blocks of a piece of work */
    for (int64_t i; (i = take(now->p->pool)) * run < pieces;)
        for (int64_t at = i * run * BLOCK; at < (i + 1) * run * BLOCK && at < pieces * BLOCK; at += LANES)
            store(now->logits + at, capped(load(now->logits + at), splat(d->logit_cap)));
}

const char *pellucid_variant(void) { return VARIANT; }

/* Bytes of working memory for a pass of ``tokens`` tokens, or as many wanted rows, whose longest sequence ends at ``end``. */
int64_t pellucid_scratch(const pool *p, const decoder *d, int64_t tokens, int64_t end) {
    scratch s;
    return (int64_t)lay_out(p, d, tokens, end, NULL, &s);
}

/* Hidden states (rows, hidden) of the wanted rows, after the last norm. ``memory`` is pellucid_scratch() bytes, aligned to 64.
   Returns 1, or 0 if the batch was interrupted between two layers, and ``out`` is not written. */
int pellucid_forward(pool *p, const decoder *d, const batch *b, void *memory, float *out) {
    pass job = {.pool = p, .decoder = d, .batch = b, .out = out};
    int64_t longest = 0;
    for (int64_t s = 0; s < b->spans; s++) longest = most(longest, b->span[s].start + b->span[s].count);
    lay_out(p, d, most(b->tokens, b->rows), longest, memory, &job.s);
    begin(p);
    run(p, embed, &job);
    int i = 0;
    for (; i < d->layers && !(b->interrupt && *b->interrupt); i++) run_layer(&job, i);
    if (i == d->layers) run(p, norm_wanted, &job);
    end(p);
    return i == d->layers;
}

/* Logits (rows, vocab) of hidden states. ``vocab`` counts whole blocks: the last columns are padding. */
void pellucid_logits(pool *p, const decoder *d, float *hidden, int64_t rows, void *memory, float *logits) {
    batch b = {.rows = rows};
    pass job = {.pool = p, .decoder = d, .batch = &b, .out = hidden};
    lay_out(p, d, rows, 0, memory, &job.s);
    begin(p);
    run(p, quantize_hidden, &job);
    project(&job, &d->head, job.s.q, rows, (target){.sink = STORE, .out = logits, .width = d->vocab});
    if (d->logit_cap > 0) run(p, cap_logits, &(capping){&job, logits});
    end(p);
}

/* Bytes of working memory for the scores of so many rows. */
int64_t pellucid_score_scratch(int64_t rows, int64_t vocab) {
    return rows * ((vocab + PIECE - 1) / PIECE) * (int64_t)sizeof(piece);
}

/* Fills in what ``d`` points to; ``memory`` is pellucid_score_scratch() bytes. */
void pellucid_score(pool *p, const score_job *d, void *memory) {
    scoring all = {.pool = p, .d = d, .piece = memory, .pieces = (d->vocab + PIECE - 1) / PIECE};
    begin(p);
    run(p, score_pieces, &all);
    end(p);
    for (int64_t row = 0; row < d->rows; row++) score_row(&all, row);
}

/* Fills in ``out`` and the results of ``d``. */
void pellucid_mask(mask_job *d) { mask_logits(d); }

/* Reads every share once, or without streams writes it, on all threads; fills in the sums. */
void pellucid_read(pool *p, share *shares, int64_t count, int64_t streams, int64_t ahead) {
    reading all = {shares, count, streams, ahead};
    for (int64_t i = 0; i < count; i++) atomic_store(&shares[i].taken, 0);
    begin(p);
    run(p, read_shares, &all);
    end(p);
}
