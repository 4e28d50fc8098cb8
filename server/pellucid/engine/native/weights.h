/* Matrices of integers of two to eight bits, with one scale for a few columns of a row, as in GGUF files:
   a weight is (number - 2^(bits - 1)) * scale, or number * scale + minimum where there are minima. A number of
   four bits may stand for a byte in a table; a weight then is (byte - 128) * scale. Or matrices of floats of sixteen bits. */
#pragma once
#include "simd.h"

enum {
    BLOCK = 16, /* rows that are interleaved, four columns of each at a time */
    GROUP = 32, /* columns that are stored together, and activations that share a scale */
    STRIPS = GROUP / 4, /* of a block's group: four columns of its sixteen rows */
    STRIP = BLOCK * 4,  /* bytes of an unpacked strip */
    VECTORS = BLOCK / LANES,
    AHEAD = 2048, /* bytes */
};

typedef struct {
    const uint8_t *number; /* (blocks, groups, group_bytes(bits)); floats in the order (blocks, columns, 16) */
    const half *scale;     /* (blocks, groups, GROUP / shared, 16), or NULL of floats */
    const half *minimum;   /* the same, or NULL */
    const uint8_t *table;  /* (64) sixteen bytes four times, or NULL */
    int64_t blocks;
    int64_t groups;
    int64_t bits;   /* 2, 3, 4, 5, 6 or 8, or 16 of floats */
    int64_t shared; /* columns that share a scale: 32, or 16 */
    int64_t is_bfloat; /* floats are bfloat16, not halves */
} weights;

/* The form of the numbers that a tile reads: their bits, whether they are unpacked, with a byte each, as numbers of eight bits
   always are, and whether they stand for bytes in a table. */
typedef enum { BITS2 = 2, BITS3 = 3, BITS4 = 4, BITS5 = 5, BITS6 = 6, BITS8 = 8, FLOATS = 16, UNPACKED = 32, TABLED = 64 } form;

INLINE int64_t group_bytes(int64_t f) { return GROUP * BLOCK * (f & UNPACKED ? 8 : f & ~TABLED) / 8; }

INLINE vi load_int(const uint8_t *p) { return *(const vi_anywhere *)p; }

/* With few tokens, memory is slower than computing, and each weight is used once: prefetch weights, because processors
   themselves look no further ahead than a page. Beyond the end nothing is fetched, and nothing fails. */
INLINE void fetch_ahead(const void *numbers, int64_t bytes) {
#pragma GCC unroll 8
    for (int64_t line = 0; line < bytes; line += 64) __builtin_prefetch((const char *)numbers + AHEAD + line, 0, 0);
}

/* The lower or the upper half of each byte. */
INLINE vi halves(vi bytes, int is_upper) {
#ifdef NEON
    if (is_upper) return (vi)vshrq_n_u8((uint8x16_t)bytes, 4);
#endif
    return (is_upper ? bytes >> 4 : bytes) & splat_int(0x0f0f0f0f);
}

/* Numbers, which lack the bits of a mask, with those of other bytes. */
INLINE vi add_bits(vi low, vi high, int32_t mask) {
#ifdef NEON
    return (vi)vbslq_u8((uint8x16_t)splat_int(mask), (uint8x16_t)high, (uint8x16_t)low);
#else
    return low | (high & splat_int(mask));
#endif
}

/* Vector ``v`` of strip ``i`` of a group, a number a byte. Low halves of bytes come first, two strips to a vector, or quarters,
   four strips to a vector; then one more bit of all eight strips, or two more of four and four. */
INLINE vi load_strip(const uint8_t *group, form f, int i, int v, const uint8_t *table) {
    int at = v * LANES * 4;
    if (f == BITS8 || f & UNPACKED) return load_int(group + i * STRIP + at);
    if (f & TABLED) return look_up(table, halves(load_int(group + i / 2 * STRIP + at), i % 2));
    if (f == BITS2 || f == BITS3) {
        vi two = (load_int(group + i / 4 * STRIP + at) >> (i % 4 * 2)) & splat_int(0x03030303);
        if (f == BITS2) return two;
        vi third = load_int(group + group_bytes(BITS2) + at);
        return add_bits(two, i < 2 ? third << (2 - i) : third >> (i - 2), 0x04040404);
    }
    vi low = halves(load_int(group + i / 2 * STRIP + at), i % 2), high;
    if (f == BITS4) return low;
    const uint8_t *rest = group + group_bytes(4) + at;
    if (f == BITS5) {
        high = load_int(rest);
        return add_bits(low, i < 4 ? high << (4 - i) : high >> (i - 4), 0x10101010);
    }
    high = load_int(rest + i / 4 * STRIP);
    return add_bits(low, i % 4 < 2 ? high << (4 - i % 4 * 2) : high >> (i % 4 * 2 - 4), 0x30303030);
}

INLINE void unpack_group(const uint8_t *group, form f, const uint8_t *table, uint8_t zero, uint8_t *out) {
#pragma GCC unroll 8
    for (int i = 0; i < STRIPS; i++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) {
            vu strip = (vu)load_strip(group, f, i, v, table) - zero;
            memcpy(out + i * STRIP + v * LANES * 4, &strip, sizeof strip);
        }
}

/* One block of rows, a number a byte, less ``zero``. */
static void unpack_block(const weights *w, int64_t block, uint8_t zero, uint8_t *out) {
    const uint8_t *group = w->number + block * w->groups * group_bytes(w->bits);
    for (int64_t g = 0; g < w->groups; g++, group += group_bytes(w->bits), out += GROUP * BLOCK)
        switch (w->bits + (w->table ? TABLED : 0)) {
        case BITS2: unpack_group(group, BITS2, NULL, zero, out); break;
        case BITS3: unpack_group(group, BITS3, NULL, zero, out); break;
        case BITS4: unpack_group(group, BITS4, NULL, zero, out); break;
        case BITS4 + TABLED: unpack_group(group, BITS4 | TABLED, w->table, zero, out); break;
        case BITS5: unpack_group(group, BITS5, NULL, zero, out); break;
        case BITS6: unpack_group(group, BITS6, NULL, zero, out); break;
        default: unpack_group(group, BITS8, NULL, zero, out);
        }
}

/* Without minima, the number for zero is 1 << zero_bit(). */
static int zero_bit(const weights *w) { return w->table ? 7 : (int)w->bits - 1; }

/* Some rows of a column of floats. */
INLINE vf load_floats(const uint8_t *number, const int is_bfloat) {
    return is_bfloat ? load_bfloat((const half *)number) : load_half((const half *)number);
}

/* One row as floats, to look up an embedding. */
static void read_row(const weights *w, int64_t row, float *out) {
    if (w->bits == FLOATS) {
        const half *block = (const half *)w->number + row / BLOCK * w->groups * GROUP * BLOCK;
        for (int64_t k = 0; k < w->groups * GROUP; k++) {
            half first[LANES] = {block[k * BLOCK + row % BLOCK]};
            out[k] = load_floats((const uint8_t *)first, (int)w->is_bfloat)[0];
        }
        return;
    }
    int64_t block = row / BLOCK, lane = row % BLOCK, parts = GROUP / w->shared, zero = w->minimum ? 0 : 1 << zero_bit(w);
    for (int64_t g = 0; g < w->groups; g++) {
        int64_t at = block * w->groups + g;
        uint8_t byte[GROUP * BLOCK];
        weights one = {.number = w->number + at * group_bytes(w->bits), .table = w->table, .groups = 1, .bits = w->bits};
        unpack_block(&one, 0, 0, byte);
        for (int64_t k = 0; k < GROUP; k++) {
            int64_t scale = (at * parts + k / w->shared) * BLOCK + lane;
            float number = (float)(byte[k / 4 * STRIP + lane * 4 + k % 4] - zero);
            out[g * GROUP + k] = number * read_half(w->scale[scale]) + (w->minimum ? read_half(w->minimum[scale]) : 0);
        }
    }
}
