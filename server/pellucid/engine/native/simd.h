/* Vectors of the widest kind that this compilation allows, and the few instructions that C cannot express. */
#pragma once
#include <stdint.h>
#include <string.h>

#if defined(PORTABLE) /* plain C even where there are instructions: what their results are compared with */
#define VARIANT "portable"
#define LANES 4
#elif defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VNNI__)
#include <immintrin.h>
#if defined(__AMX_TILE__) && defined(__AMX_INT8__)
#define VARIANT "AMX-int8"
#define AMX 1
#else
#define VARIANT "AVX512-VNNI"
#endif
#define LANES 16
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include <immintrin.h>
#ifdef __AVXVNNI__
#define VARIANT "AVX-VNNI"
#else
#define VARIANT "AVX2"
#endif
#define LANES 8
#elif defined(__aarch64__)
#include <arm_neon.h>
#define NEON
#if defined(__ARM_FEATURE_DOTPROD) && defined(__ARM_FEATURE_MATMUL_INT8)
#define VARIANT "NEON-i8mm"
#define DOTPROD
#define I8MM
#elif defined(__ARM_FEATURE_DOTPROD)
#define VARIANT "NEON-dotprod"
#define DOTPROD
#else
#define VARIANT "NEON"
#endif
#define LANES 4
#else
#define VARIANT "portable" /* correct on any processor, but slow: for tests */
#define LANES 4
#endif

#ifndef AMX
#define AMX 0
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
typedef float vf_anywhere __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t vi_anywhere __attribute__((vector_size(4 * LANES), aligned(1), may_alias));
typedef int64_t int64_anywhere __attribute__((aligned(4), may_alias));
typedef int8_t vb __attribute__((vector_size(LANES)));
typedef uint8_t vu __attribute__((vector_size(4 * LANES)));
typedef uint16_t half; /* the bits of an IEEE half */

INLINE vf load(const float *p) { return *(const vf_anywhere *)p; }
INLINE void store(float *p, vf v) { *(vf_anywhere *)p = v; }
INLINE vf splat(float x) { return x - (vf){0}; }
INLINE vi splat_int(int32_t x) { return x - (vi){0}; }
INLINE vf to_float(vi v) { return __builtin_convertvector(v, vf); }
INLINE vf choose(vi mask, vf yes, vf no) { return (vf)((mask & (vi)yes) | (~mask & (vi)no)); }

INLINE vf larger(vf a, vf b) {
#if LANES == 16
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif LANES == 8
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return choose(a > b, a, b);
#endif
}

INLINE vf smaller(vf a, vf b) {
#if LANES == 16
    return (vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif LANES == 8
    return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return choose(a < b, a, b);
#endif
}

/* a * b + c, rounded once where the processor can, and everywhere in a compilation the same way. */
INLINE vf fma_(vf a, vf b, vf c) {
#if LANES == 16
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif LANES == 8
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(NEON)
    return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#elif defined(__FP_FAST_FMAF) || defined(__aarch64__)
    for (int i = 0; i < LANES; i++) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return c;
#else
    return a * b + c;
#endif
}

/* Across lanes: the upper half onto the lower one, until one is left. */
INLINE float sum_lanes(vf v) {
#if LANES == 16
    return _mm512_reduce_add_ps((__m512)v);
#else
    for (int n = LANES / 2; n; n /= 2)
        for (int i = 0; i < n; i++) v[i] += v[i + n];
    return v[0];
#endif
}

INLINE int32_t sum_lanes_int(vi v) {
#if LANES == 16
    return _mm512_reduce_add_epi32((__m512i)v);
#else
    uint32_t sum = 0; /* which may wrap */
    for (int i = 0; i < LANES; i++) sum += (uint32_t)v[i];
    return (int32_t)sum;
#endif
}

INLINE float max_lanes(vf v) {
#if LANES == 16
    return _mm512_reduce_max_ps((__m512)v);
#else
    for (int i = 1; i < LANES; i++) v[0] = v[i] > v[0] ? v[i] : v[0];
    return v[0];
#endif
}

/* A square of vectors, rows to columns. */
INLINE void transpose(vf *row) {
#if LANES == 16
#pragma GCC unroll 4
    for (int step = 1; step < LANES; step *= 2) { /* exchange squares of this size across the diagonal */
        vi low, high;
        for (int i = 0; i < LANES; i++) {
            low[i] = i & step ? LANES + i - step : i;
            high[i] = i & step ? LANES + i : i + step;
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
            if (i & step) continue;
            vf upper = row[i], lower = row[i + step];
            row[i] = (vf)_mm512_permutex2var_ps((__m512)upper, (__m512i)low, (__m512)lower);
            row[i + step] = (vf)_mm512_permutex2var_ps((__m512)upper, (__m512i)high, (__m512)lower);
        }
    }
#elif LANES == 8
    __m256 pair[8], four[8];
    for (int i = 0; i < 8; i += 2) {
        pair[i] = _mm256_unpacklo_ps((__m256)row[i], (__m256)row[i + 1]);
        pair[i + 1] = _mm256_unpackhi_ps((__m256)row[i], (__m256)row[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            four[i + 2 * j] = _mm256_shuffle_ps(pair[i + j], pair[i + j + 2], 0x44);
            four[i + 2 * j + 1] = _mm256_shuffle_ps(pair[i + j], pair[i + j + 2], 0xee);
        }
    for (int i = 0; i < 4; i++) {
        row[i] = (vf)_mm256_permute2f128_ps(four[i], four[i + 4], 0x20);
        row[i + 4] = (vf)_mm256_permute2f128_ps(four[i], four[i + 4], 0x31);
    }
#elif defined(NEON)
    for (int i = 0; i < 4; i += 2) {
        float32x4_t upper = (float32x4_t)row[i], lower = (float32x4_t)row[i + 1];
        row[i] = (vf)vtrn1q_f32(upper, lower);
        row[i + 1] = (vf)vtrn2q_f32(upper, lower);
    }
    for (int i = 0; i < 2; i++) {
        float64x2_t upper = (float64x2_t)row[i], lower = (float64x2_t)row[i + 2];
        row[i] = (vf)vtrn1q_f64(upper, lower);
        row[i + 2] = (vf)vtrn2q_f64(upper, lower);
    }
#else
    float square[LANES][LANES];
    for (int i = 0; i < LANES; i++) store(square[i], row[i]);
    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < LANES; j++) row[i][j] = square[j][i];
#endif
}

/* The nearest integers, ties to even, of |v| < 2^22: adding 1.5 * 2^23 leaves them in the low bits. */
INLINE vi nearest(vf v) { return (vi)(v + splat(12582912.0f)) - splat_int(0x4B400000); }

/* 2^x to 2 units in the last place, exactly 1 at 0 and exactly 0 from -127 down, where the exponent's bits are spent. */
INLINE vf exp2_(vf x) {
    x = smaller(larger(x, splat(-127.0f)), splat(127.0f));
    vi whole = nearest(x);
    vf f = x - to_float(whole);
    vf p = splat(1.5403530e-4f); /* the Taylor series of 2^f, |f| <= 1/2 */
    p = fma_(p, f, splat(1.3333558e-3f));
    p = fma_(p, f, splat(9.6181291e-3f));
    p = fma_(p, f, splat(5.5504109e-2f));
    p = fma_(p, f, splat(2.4022651e-1f));
    p = fma_(p, f, splat(6.9314718e-1f));
    p = fma_(p, f, splat(1.0f));
    return (vf)((vi)p + (whole << 23));
}

#define LOG2_E 1.44269504f
/* By the tanh formula (arXiv 1606.08415): x times the logistic function of twice tanh's argument. */
INLINE vf gelu(vf x) {
    vf cubic = fma_(x * x, splat(0.044715f), splat(1.0f)) * x;
    return x / (splat(1.0f) + exp2_(cubic * splat(-2 * 0.797884561f * LOG2_E)));
}

/* cap * tanh(x / cap) */
INLINE vf capped(vf x, vf cap) {
    vf y = cap - (cap + cap) / (splat(1.0f) + exp2_(x / cap * splat(2 * LOG2_E)));
    return choose(x == x, y, x); /* NaN stays NaN */
}

INLINE vf silu(vf x) { return x / (splat(1.0f) + exp2_(x * splat(-LOG2_E))); }

/* A gate and what it gates, both limited, as in gpt-oss. */
INLINE vf limited(vf gate, vf up) {
    gate = smaller(gate, splat(7.0f));
    up = larger(smaller(up, splat(7.0f)), splat(-7.0f));
    return gate / (splat(1.0f) + exp2_(gate * splat(-1.702f * LOG2_E))) * (up + splat(1.0f));
}

/* Dot products of four bytes in each lane. The weights' numbers are unsigned, as VNNI wants one factor to be; what that adds
   is taken off by the correction that the sum starts with. Numbers of eight bits are turned into signed ones where signed
   factors are as good, and the sum starts at zero.

   AVX2 alone multiplies bytes to sums of two products in sixteen bits, NEON alone to products in sixteen bits. A run of strips
   adds them up, as many as fit, and only then widens them. Elsewhere a run is as long as a scale reaches, and adds to the sum
   at once.

   I8MM multiplies eight bytes of two rows by eight bytes of two tokens. The tokens share a vector of sums, whose lanes are the
   first row's sums for both tokens and the second row's. */
#if LANES == 8 && !defined(__AVXVNNI__)
#define PAIRS 1
#else
#define PAIRS 0
#endif

#if defined(NEON) && !defined(DOTPROD)
#define PRODUCTS 1
#else
#define PRODUCTS 0
#endif

#if LANES == 16 || (LANES == 8 && defined(__AVXVNNI__)) || (LANES == 4 && !defined(NEON))
#define UNSIGNED_BYTES 1
#else
#define UNSIGNED_BYTES 0
#endif

#ifdef I8MM
#define MOST_SHARING 2 /* tokens that share a vector of sums: as many vectors as with one token have the sums of four rows */
#else
#define MOST_SHARING 1
#endif

typedef struct {
    vi value;
#if PAIRS
    vi magnitude; /* of signed bytes */
#endif
} factor;

#if PRODUCTS
typedef struct {
    int16x8_t low, high; /* of two rows each */
} run_sum;
#else
typedef vi run_sum;
#endif

/* What a strip is multiplied by: four activations, or a vector that has the four in one lane. I8MM's vectors have eight of one
   token, then the same eight of the next token: see place_of(). */
#ifdef DOTPROD
typedef struct {
    int8x16_t all;
    int lane;
} activation;
#else
typedef int32_t activation;
#endif

INLINE activation load_activation(const int8_t *token, int i) {
#if defined(I8MM)
    return (activation){vld1q_s8(token + i / 2 * 16), i % 2};
#elif defined(DOTPROD)
    return (activation){vld1q_s8(token + i / 4 * 16), i % 4};
#else
    activation four;
    memcpy(&four, token + i * 4, sizeof four);
    return four;
#endif
}

/* How many strips of a group a run has, of ``strips`` that share a scale. Numbers of so many bits make pairs of at most
   (2^bits - 1) * 127 * 2; signed ones of 128 * 127 * 2. Products are half as large. */
INLINE int run_length(int bits, int strips) {
    int fit = (bits <= 4 ? 8 : bits == 5 ? 4 : bits == 6 ? 2 : 1) * (PRODUCTS ? 2 : 1);
    return (PAIRS || PRODUCTS) && fit < strips ? fit : strips;
}

INLINE run_sum begin_run(vi start) {
#if PRODUCTS
    (void)start;
    return (run_sum){0};
#else
    return PAIRS ? splat_int(0) : start;
#endif
}

INLINE vi end_run(vi sum, run_sum run) {
#if PAIRS
    return sum + (vi)_mm256_madd_epi16((__m256i)run, _mm256_set1_epi16(1));
#elif PRODUCTS
    return sum + (vi)vpaddq_s32(vpaddlq_s16(run.low), vpaddlq_s16(run.high));
#else
    (void)sum;
    return run;
#endif
}

INLINE vi end_sum(vi sum, vi start) { return PAIRS || PRODUCTS ? sum + start : sum; }

/* The start of a sum of products with numbers of eight bits, given minus the sum of the other factors. */
INLINE uint32_t byte_correction(uint32_t minus) { return UNSIGNED_BYTES ? minus * 128 : 0; }

INLINE factor byte_factor(vi numbers) {
    factor f = {.value = numbers};
#if !UNSIGNED_BYTES
    f.value ^= splat_int((int32_t)0x80808080);
#endif
#if PAIRS
    f.magnitude = (vi)_mm256_abs_epi8((__m256i)f.value);
#endif
    return f;
}

/* Numbers of at most six bits. */
INLINE factor small_factor(vi numbers) { return (factor){.value = numbers}; }

/* Keeps the additions of a run where they are written: GCC would first multiply all strips, in more registers than there are.
   For ARM, GCC also moves instructions before it counts registers: it moves none across a volatile one. */
#if PAIRS
#define IN_ORDER(run) __asm__("" : "+x"(run))
#elif defined(NEON)
#define IN_ORDER(run) __asm__ volatile("")
#else
#define IN_ORDER(run) ((void)0)
#endif

INLINE run_sum dot_small(run_sum run, factor f, activation four, const int share) {
    (void)share;
#if LANES == 16
    return (vi)_mm512_dpbusd_epi32((__m512i)run, (__m512i)f.value, _mm512_set1_epi32(four));
#elif LANES == 8 && defined(__AVXVNNI__)
    return (vi)_mm256_dpbusd_avx_epi32((__m256i)run, (__m256i)f.value, _mm256_set1_epi32(four));
#elif PAIRS
    return (vi)_mm256_add_epi16((__m256i)run, _mm256_maddubs_epi16((__m256i)f.value, _mm256_set1_epi32(four)));
#elif defined(DOTPROD)
    int32x4_t sum = (int32x4_t)run;
    int8x16_t numbers = (int8x16_t)f.value;
#ifdef I8MM
    if (share == 2) return (vi)vmmlaq_s32(sum, numbers, four.all);
#endif
    switch (four.lane) { /* a constant, but only after inlining */
    case 0: return (vi)vdotq_laneq_s32(sum, numbers, four.all, 0);
    case 1: return (vi)vdotq_laneq_s32(sum, numbers, four.all, 1);
    case 2: return (vi)vdotq_laneq_s32(sum, numbers, four.all, 2);
    default: return (vi)vdotq_laneq_s32(sum, numbers, four.all, 3);
    }
#elif PRODUCTS
    int8x16_t numbers = (int8x16_t)f.value, other = (int8x16_t)vdupq_n_s32(four);
    return (run_sum){vmlal_s8(run.low, vget_low_s8(numbers), vget_low_s8(other)), vmlal_high_s8(run.high, numbers, other)};
#else
    for (int shift = 0; shift < 32; shift += 8) run += ((f.value >> shift) & 255) * (int8_t)(four >> shift);
    return run;
#endif
}

INLINE run_sum dot(run_sum run, factor f, activation four, const int share) {
#if PAIRS
    (void)share;
    __m256i other = _mm256_sign_epi8(_mm256_set1_epi32(four), (__m256i)f.value);
    return (vi)_mm256_add_epi16((__m256i)run, _mm256_maddubs_epi16((__m256i)f.magnitude, other));
#else
    return dot_small(run, f, four, share);
#endif
}

/* The numbers of the tokens whose sums are in vector ``t``, in the same lanes. */
INLINE vi of_tokens_int(const int32_t *number, int t, const int share) {
#ifdef I8MM
    if (share == 2) return (vi)vreinterpretq_s32_s64(vdupq_n_s64(*(const int64_anywhere *)(number + 2 * t)));
#endif
    (void)share;
    return splat_int(number[t]);
}

INLINE vf of_tokens(const float *number, int t, const int share) {
#ifdef I8MM
    if (share == 2) return (vf)vreinterpretq_f32_s64(vdupq_n_s64(*(const int64_anywhere *)(number + 2 * t)));
#endif
    (void)share;
    return splat(number[t]);
}

/* The sums of four rows for token ``t`` of two that share two vectors. */
INLINE vf of_token(const vf *sum, int t) {
#ifdef I8MM
    float32x4_t upper = (float32x4_t)sum[0], lower = (float32x4_t)sum[1];
    return (vf)(t % 2 ? vuzp2q_f32(upper, lower) : vuzp1q_f32(upper, lower));
#else
    (void)t;
    return sum[0];
#endif
}

/* The bytes of a table of sixteen, by numbers of four bits. */
INLINE vi look_up(const uint8_t *table, vi numbers) {
#if LANES == 16
    return (vi)_mm512_shuffle_epi8((__m512i)*(const vi_anywhere *)table, (__m512i)numbers);
#elif LANES == 8
    return (vi)_mm256_shuffle_epi8((__m256i)*(const vi_anywhere *)table, (__m256i)numbers);
#elif defined(NEON)
    return (vi)vqtbl1q_u8(vld1q_u8(table), (uint8x16_t)numbers);
#else
    vu bytes = (vu)numbers;
    for (int i = 0; i < 4 * LANES; i++) bytes[i] = table[bytes[i]];
    return (vi)bytes;
#endif
}

/* The KV cache holds halves. A value that does not fit becomes the largest half. */
#define HALF_MAX 65504.0f
INLINE vf clamp_half(vf v) {
    return larger(smaller(v, splat(HALF_MAX)), splat(-HALF_MAX));
}

INLINE vf load_half(const half *p) {
#if LANES == 16
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
#elif LANES == 8
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
#elif defined(NEON)
    return (vf)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
#else
    vi bits = {p[0], p[1], p[2], p[3]};
    vi sign = (bits & 0x8000) << 16, rest = bits & 0x7fff;
    /* Shifted into place the exponent is 112 too low; the multiplication repairs it, for subnormal halves too. */
    vf value = (vf)(rest << 13) * splat(0x1p112f);
    return (vf)((vi)value | sign);
#endif
}

/* A bfloat16 is the upper half of a float. */
INLINE vf load_bfloat(const half *p) {
#if LANES == 16
    return (vf)((vi)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)) << 16);
#elif LANES == 8
    return (vf)((vi)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)) << 16);
#else
    return (vf)((vi){p[0], p[1], p[2], p[3]} << 16);
#endif
}

/* Bytes as floats; GCC 12 would convert a vector of bytes one by one. */
INLINE vf load_bytes(const int8_t *p) {
#if LANES == 16
    return to_float((vi)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
#elif LANES == 8
    return to_float((vi)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
#elif defined(NEON)
    int32_t four;
    memcpy(&four, p, sizeof four);
    return to_float((vi)vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four))))));
#else
    return (vf){p[0], p[1], p[2], p[3]};
#endif
}

/* The scales of the rows whose sums are in vector ``v``, in the same lanes. */
INLINE vf of_rows(const half *p, int v, const int share) {
    vf rows = load_half(p + v / share * LANES);
#ifdef I8MM
    float32x4_t r = (float32x4_t)rows;
    if (share == 2) return (vf)(v % 2 ? vzip2q_f32(r, r) : vzip1q_f32(r, r));
#endif
    return rows;
}

INLINE float read_half(half bits) {
    half all[LANES] = {bits};
    return load_half(all)[0];
}

INLINE void store_half(half *p, vf v) {
    v = clamp_half(v);
#if LANES == 16
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT));
#elif LANES == 8
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(NEON)
    vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32((float32x4_t)v)));
#else
    vi bits = (vi)v, sign = (bits >> 16) & 0x8000, rest = bits & 0x7fffffff;
    vi normal = (rest + 0xfff + ((rest >> 13) & 1) - (112 << 23)) >> 13;
    /* Below 2^-14 a half counts in steps of 2^-24: adding 0.5, whose last bit is worth that, rounds to them. */
    vi subnormal = (vi)((vf)rest + splat(0.5f)) - (vi)splat(0.5f);
    vi small = rest < splat_int(0x38800000);
    vi out = ((small & subnormal) | (~small & normal)) | sign;
    for (int i = 0; i < LANES; i++) p[i] = (half)out[i];
#endif
}
