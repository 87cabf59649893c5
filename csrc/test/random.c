/* The counter-based generator against its published vectors, and what is drawn from it. */
#define PB_REAL_BITS 32
#define PB_ISA baseline
#include "ops/random.h"

#include "test/test.h"

/* Counter, key and answer of philox4x32-10, from the known-answer tests of Random123 1.09. */
static const struct {
  uint32_t counter[4], key[2], answer[4];
} known[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
     {0xffffffff, 0xffffffff},
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xa4093822, 0x299f31d0},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

static uint64_t join(uint32_t low, uint32_t high) { return (uint64_t)high << 32 | low; }

static void philox_known_answers(void) {
  for (int i = 0; i < 3; i++) {
    const uint32_t *c = known[i].counter, *k = known[i].key;
    uint64_t seed = join(k[0], k[1]), index = join(c[0], c[1]), step = join(c[2], c[3]);
    pb_random4 r = pb_philox(seed, 0, step, index);
    uint32_t stream = 0x1234567;
    pb_random4 s = pb_philox(seed, stream, step, index ^ (uint64_t)stream << 32);
    for (int j = 0; j < 4; j++) {
      CHECK(r.v[j] == known[i].answer[j], "vector %d: word %d is %08x", i, j, (unsigned)r.v[j]);
      CHECK(s.v[j] == r.v[j], "the stream is not mixed into the index's high word");
    }
  }
}

static void blocks_are_philox(void) {
  rng r = {5};
  for (int i = 0; i < 200; i++) {
    uint64_t seed = rng_bits(&r), step = rng_bits(&r) >> rng_below(&r, 64);
    uint64_t block = rng_bits(&r) >> (4 + rng_below(&r, 60));
    uint32_t stream = (uint32_t)rng_bits(&r), bits[RANDOM_BLOCK];
    random_block(seed, stream, step, block, bits);
    for (uint64_t k = 0; k < RANDOM_BLOCK; k++)
      CHECK(bits[k] == pb_philox(seed, stream, step, 16 * block + k % 16).v[k / 16],
            "number %d of block %llx", (int)k, (unsigned long long)block);
  }
}

/* --- permutations -------------------------------------------------------------------------------- */

static bool is_permutation(const int64_t *order, int64_t n) {
  char *seen = exact_alloc(n);
  bool all = true;
  for (int64_t i = 0; i < n; i++) {
    all &= order[i] >= 0 && order[i] < n && !seen[order[i]];
    if (order[i] >= 0 && order[i] < n) seen[order[i]] = 1;
  }
  exact_free(seen);
  return all;
}

static bool same_order(const int64_t *a, const int64_t *b, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (a[i] != b[i]) return false;
  return true;
}

static void permutations_are_permutations(void) {
  static const int64_t sizes[] = {1, 2, 3, 4, 5, 9, 64, 1000, 4099};
  for (int i = 0; i < 9; i++) {
    int64_t n = sizes[i], *order = exact_alloc(n * 8), *again = exact_alloc(n * 8);
    for (int64_t epoch = 0; epoch < 5; epoch++) {
      pb_permutation(42, epoch, n, order);
      CHECK(is_permutation(order, n), "%d rows, epoch %d", (int)n, (int)epoch);
      for (int64_t k = 0; k < n; k++) again[k] = -k;
      pb_permutation(42, epoch, n, again);
      CHECK(same_order(order, again, n), "the same epoch twice differs");
      pb_permutation(42, epoch + 1, n, again);
      CHECK(n < 9 || !same_order(order, again, n), "two epochs are alike");
      pb_permutation(43, epoch, n, again);
      CHECK(n < 9 || !same_order(order, again, n), "two seeds are alike");
    }
    exact_free(order), exact_free(again);
  }
}

/* Each of 8 rows comes to each place in about an eighth of 8000 epochs: 1000 +- 5 x 29.6. */
static void permutations_are_fair(void) {
  int count[8][8] = {
      {0},
  };
  for (int64_t epoch = 0; epoch < 8000; epoch++) {
    int64_t order[8];
    pb_permutation(1, epoch, 8, order);
    for (int i = 0; i < 8; i++) count[i][order[i]]++;
  }
  for (int i = 0; i < 8; i++)
    for (int j = 0; j < 8; j++)
      CHECK(count[i][j] > 852 && count[i][j] < 1148, "row %d came to place %d %d times", j, i,
            count[i][j]);
}

const test tests_random[] = {
    {"philox: published vectors", philox_known_answers, NULL},
    {"blocks of 64 numbers are philox's", blocks_are_philox, NULL},
    {"permutations", permutations_are_permutations, NULL},
    {"permutations are fair", permutations_are_fair, NULL},
    {0},
};
