/* replay.c - runs a fuzz target where there is no libFuzzer: on every file of its corpus, then on
 * so many mutations of them, always the same ones. Finds less than libFuzzer, which sees what an
 * input reaches; but needs no other compiler, and a found input stays found.
 *
 *     fuzz_sweep CORPUS [MUTATIONS]
 */
#include <dirent.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

enum { MOST_SEEDS = 256, MOST_BYTES = 1 << 16 };

struct input {
    size_t size;
    uint8_t *data;
};

static uint64_t random_state = 1;

/* splitmix64 */
static uint64_t draw(uint64_t below)
{
    uint64_t x = random_state += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return (x ^ x >> 31) % below;
}

static struct input read_input(const char *folder, const char *name)
{
    char path[4096];
    struct input in = {.data = malloc(MOST_BYTES)};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    fuzz_require(file && in.data, "a corpus can be read");
    in.size = fread(in.data, 1, MOST_BYTES, file);
    fclose(file);
    return in;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_seed(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int read_corpus(const char *folder, struct input seeds[MOST_SEEDS])
{
    struct dirent **names;
    const int count = scandir(folder, &names, is_seed, by_name);
    fuzz_require(count > 0 && count <= MOST_SEEDS, "a corpus has some files");
    for (int i = 0; i < count; i++) {
        seeds[i] = read_input(folder, names[i]->d_name);
        free(names[i]);
    }
    free(names);
    return count;
}

/* Replaces `cut` bytes at `at` by `size` others. */
static void replace(struct input *in, size_t at, size_t cut, const void *bytes, size_t size)
{
    if (in->size - cut + size > MOST_BYTES)
        return;
    memmove(in->data + at + size, in->data + at + cut, in->size - at - cut);
    memmove(in->data + at, bytes, size);
    in->size += size - cut;
}

/* A byte changed, a part dropped, doubled or taken from another seed, or a number made large. */
static void mutate(struct input *in, const struct input *other)
{
    static const char *const numbers[] = {"-1", "0", "9223372036854775807", "1e308", "0.5"};
    uint8_t part[32];
    const size_t at = draw(in->size + 1), left = in->size - at;
    const size_t most = left < sizeof part ? left : sizeof part, cut = most ? draw(most) + 1 : 0;
    const char *number = numbers[draw(5)];
    switch (draw(5)) {
    case 0:
        part[0] = (uint8_t)draw(256);
        replace(in, at, cut > 0, part, 1);
        break;
    case 1:
        replace(in, at, cut, part, 0);
        break;
    case 2:
        memcpy(part, in->data + at, cut);
        replace(in, at, 0, part, cut);
        break;
    case 3:
        if (other->size > sizeof part)
            replace(in, at, cut, other->data + draw(other->size - sizeof part), sizeof part);
        break;
    case 4:
        replace(in, at, cut > 1, number, strlen(number));
        break;
    }
}

/* In memory of its own size, so that a sanitizer sees the first byte read beyond it. */
static void run(const struct input *in)
{
    uint8_t *exact = malloc(in->size ? in->size : 1);
    fuzz_require(exact != NULL, "there is memory");
    memcpy(exact, in->data, in->size);
    LLVMFuzzerTestOneInput(exact, in->size);
    free(exact);
}

int main(int argc, char **argv)
{
    static struct input seeds[MOST_SEEDS];
    struct input work = {.data = malloc(MOST_BYTES)};
    fuzz_require(argc >= 2 && work.data, "usage: CORPUS [MUTATIONS]");
    const int count = read_corpus(argv[1], seeds);
    const long mutations = argc > 2 ? atol(argv[2]) : 0;
    for (int i = 0; i < count; i++)
        run(&seeds[i]);
    for (long n = 0; n < mutations; n++) {
        const struct input *seed = &seeds[draw((uint64_t)count)];
        work.size = seed->size;
        memcpy(work.data, seed->data, seed->size);
        for (uint64_t times = draw(4) + 1; times; times--)
            mutate(&work, &seeds[draw((uint64_t)count)]);
        run(&work);
    }
    printf("%d files and %ld mutations of them\n", count, mutations);
    for (int i = 0; i < count; i++)
        free(seeds[i].data);
    free(work.data);
    return 0;
}
