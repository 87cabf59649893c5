/* Random numbers as a function of (seed, stream, step, index): nothing to store, nothing to split.
 *
 * Philox4x32-10: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
 * SC 2011. Ten rounds of a keyed bijection turn a 128-bit counter into four 32-bit numbers.
 */
#ifndef PB_RNG_H
#define PB_RNG_H

#include <stdint.h>

typedef struct {
  uint32_t v[4];
} pb_random4;

static inline pb_random4 pb_philox(uint64_t seed, uint32_t stream, uint64_t step, uint64_t index) {
  uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32) ^ stream;
  uint32_t c2 = (uint32_t)step, c3 = (uint32_t)(step >> 32);
  uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
  for (int round = 0; round < 10; round++) {
    uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
    uint32_t n0 = (uint32_t)(b >> 32) ^ c1 ^ k0, n2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
    c0 = n0, c1 = (uint32_t)b, c2 = n2, c3 = (uint32_t)a;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  return (pb_random4){{c0, c1, c2, c3}};
}

#endif
