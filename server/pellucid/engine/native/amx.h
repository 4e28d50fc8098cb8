/* Products of bytes in AMX's tile registers, which a process must ask Linux for: see kernel_variants.py. */
#pragma once
#include "quantized_activations.h"

/* Shape this thread's registers: 0 for sums, 1 and 2 for 32 columns of tokens and of rows, 3 and 4 for 16 columns. */
static void shape_registers(void) {
    static const struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16]; /* of a register's line */
        uint8_t lines[16];
    } shapes = {.palette = 1, .bytes = {STRIP, 32, STRIP, 16, STRIP}, .lines = {TILE, TILE, 32 / 4, TILE, 16 / 4}};
    _tile_loadconfig(&shapes);
}

/* The exact sums of products: columns of a tile's tokens times the same columns of a block's rows, in signed numbers. */
INLINE void multiply_columns(const int8_t *tokens, const uint8_t *numbers, const int columns, vi *sum) {
    _tile_zero(0);
    if (columns == 32) {
        _tile_loadd(1, tokens, GROUP);
        _tile_loadd(2, numbers, STRIP);
        _tile_dpbssd(0, 1, 2);
    } else {
        _tile_loadd(3, tokens, GROUP);
        _tile_loadd(4, numbers, STRIP);
        _tile_dpbssd(0, 3, 4);
    }
    _tile_stored(0, sum, sizeof *sum);
}
