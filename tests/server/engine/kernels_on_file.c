/* Calls the kernels on memory that test_arm64_kernels.py has written to a file, and leaves the results there. */
#include "kernels.c"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define PLACE ((void *)0x1000000000) /* where the file's pointers expect its memory */

typedef struct {
    const decoder *decoder;
    const batch *batch; /* or NULL: logits of hidden states */
    float *hidden, *out;
    int64_t rows;
} call;

typedef struct {
    int64_t calls, masks, values;
    const call *call;
    score_job *scores;
    mask_job *mask;
    const float *value; /* to be stored as halves, and loaded again */
    half *half;
    float *loaded;
} work_list;

static void answer(pool *p, const call *c) {
    int64_t tokens = c->batch ? most(c->batch->tokens, c->rows) : c->rows, end = 0;
    for (int64_t i = 0; c->batch && i < c->batch->spans; i++) end = most(end, c->batch->span[i].start + c->batch->span[i].count);
    void *memory = aligned_alloc(64, (size_t)pellucid_scratch(p, c->decoder, tokens, end));
    if (c->batch) pellucid_forward(p, c->decoder, c->batch, memory, c->out);
    else pellucid_logits(p, c->decoder, c->hidden, c->rows, memory, c->out);
    free(memory);
}

int main(int count, char **arguments) {
    int file = count == 2 ? open(arguments[1], O_RDWR) : -1;
    struct stat about;
    if (file < 0 || fstat(file, &about)) return 1;
    const work_list *w = mmap(PLACE, (size_t)about.st_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0);
    if (w != PLACE) return 2;
    pool *p = pellucid_pool(2);
    for (int64_t i = 0; i < w->calls; i++) answer(p, w->call + i);
    pellucid_score(p, w->scores, malloc((size_t)pellucid_score_scratch(w->scores->rows, w->scores->vocab)));
    for (int64_t i = 0; i < w->masks; i++) pellucid_mask(w->mask + i);
    for (int64_t i = 0; i < w->values; i += LANES) {
        store_half(w->half + i, load(w->value + i));
        store(w->loaded + i, load_half(w->half + i));
    }
    puts(pellucid_variant());
    return 0;
}
