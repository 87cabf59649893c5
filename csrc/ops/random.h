/* Bits for the kernels, 64 at a time: sixteen Philox blocks side by side in the lanes. */
#ifndef PB_RANDOM_H
#define PB_RANDOM_H

#include "core/rng.h"
#include "ops/real.h"

enum { RANDOM_BLOCK = 64 };

/* bits <- the 64 numbers of block `block`: number i belongs to element 64 block + i. The same as
   pb_philox(seed, stream, step, 16 block + i % 16).v[i / 16], for all i at once. */
PB_INLINE void random_block(uint64_t seed, uint32_t stream, uint64_t step, uint64_t block,
                            uint32_t bits[RANDOM_BLOCK]) {
  enum { W = 16 };
  uint32_t c0[W], c1[W], c2[W], c3[W], k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
  for (int i = 0; i < W; i++) {
    uint64_t index = block * W + (uint64_t)i;
    c0[i] = (uint32_t)index, c1[i] = (uint32_t)(index >> 32) ^ stream;
    c2[i] = (uint32_t)step, c3[i] = (uint32_t)(step >> 32);
  }
  for (int round = 0; round < 10; round++) {
    for (int i = 0; i < W; i++) {
      uint64_t a = (uint64_t)0xD2511F53u * c0[i], b = (uint64_t)0xCD9E8D57u * c2[i];
      c0[i] = (uint32_t)(b >> 32) ^ c1[i] ^ k0, c2[i] = (uint32_t)(a >> 32) ^ c3[i] ^ k1;
      c1[i] = (uint32_t)b, c3[i] = (uint32_t)a;
    }
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  for (int i = 0; i < W; i++)
    bits[i] = c0[i], bits[W + i] = c1[i], bits[2 * W + i] = c2[i], bits[3 * W + i] = c3[i];
}

#endif
