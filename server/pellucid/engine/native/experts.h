/* The experts of an MLP: which of them compute a token, and where their inputs and outputs lie. */
#pragma once
#include "matrix.h"

/* For each token and each of its experts, the most probable first. */
typedef struct {
    int32_t *expert;
    float *weight; /* of the expert's output */
    int64_t *row;  /* of the expert's input and output */
} choices;

/* The rows of each expert: tokens in order, beginning with a whole tile. */
typedef struct {
    int64_t *begin, *count; /* (experts) */
} shares;

/* The most rows for so many tokens. */
static int64_t expert_rows(int64_t tokens, int64_t experts, int64_t active) {
    int64_t pairs = tokens * active, used = pairs < experts ? pairs : experts;
    return pairs + used * (TILE - 1);
}

/* Choose the experts with the highest scores, which are changed; invalid numbers are equal. */
static void choose_experts(float *score, int64_t experts, int64_t active, int normalized, int32_t *expert, float *weight) {
    float most = score[0], total = 0, chosen = 0;
    for (int64_t e = 1; e < experts; e++) most = score[e] > most ? score[e] : most;
    for (int64_t e = 0; e < experts; e++) total += score[e] = exp2_(splat((score[e] - most) * LOG2_E))[0];
    for (int64_t k = 0; k < active; k++) {
        int64_t best = -1;
        for (int64_t e = 0; e < experts; e++) {
            int is_taken = 0;
            for (int64_t i = 0; i < k; i++) is_taken |= expert[i] == e;
            if (!is_taken && (best < 0 || score[e] > score[best])) best = e;
        }
        expert[k] = (int32_t)best;
        chosen += weight[k] = score[best];
    }
    for (int64_t k = 0; k < active; k++) weight[k] /= normalized ? chosen : total;
}

/* Give every token a row of each of its experts. */
static void share_out(choices c, shares s, int64_t tokens, int64_t experts, int64_t active) {
    int64_t begin = 0;
    for (int64_t e = 0; e < experts; e++) s.count[e] = 0;
    for (int64_t i = 0; i < tokens * active; i++) s.count[c.expert[i]]++;
    for (int64_t e = 0; e < experts; begin += whole_tiles(s.count[e++])) s.begin[e] = begin;
    for (int64_t e = 0; e < experts; e++) s.count[e] = 0;
    for (int64_t i = 0; i < tokens * active; i++) c.row[i] = s.begin[c.expert[i]] + s.count[c.expert[i]]++;
}

/* What this thread takes of each expert's rows times the expert's part of a matrix. */
static void multiply_experts(pool *p, const matrix *m, quantized a, shares s, int64_t experts, const target *to, uint8_t *unpacked) {
    pieces w = {p, take(p), 0};
    int64_t blocks = m->blocks / experts;
    for (int64_t e = 0; e < experts; e++) {
        if (!s.count[e]) continue;
        matrix own = blocks_of(m, e * blocks, blocks);
        multiply_pieces(&w, &own, a, s.begin[e], s.begin[e] + s.count[e], to, unpacked);
    }
}
