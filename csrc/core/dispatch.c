/* Picks the kernels for this CPU. PYBP_CPU names another instruction set, for tests. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/blas.h"
#include "pybp.h"

#define DECLARE(isa) extern const pb_table pb_table_f32_##isa, pb_table_f64_##isa;
DECLARE(baseline)
#ifdef PB_HAVE_X86_VARIANTS
DECLARE(avx2)
DECLARE(avx512)
#endif

typedef struct {
  const char *name;
  const pb_table *f32, *f64;
} variant;

static const variant variants[] = {
    {"baseline", &pb_table_f32_baseline, &pb_table_f64_baseline},
#ifdef PB_HAVE_X86_VARIANTS
    {"avx2", &pb_table_f32_avx2, &pb_table_f64_avx2},
    {"avx512", &pb_table_f32_avx512, &pb_table_f64_avx512},
#endif
};
enum { VARIANTS = sizeof variants / sizeof *variants };

#ifndef PB_HAVE_X86_VARIANTS
static int usable(void) { return 1; }
#elif defined(_MSC_VER) /* clang-cl too: the builtins need a runtime that its linker lacks */
#include <immintrin.h>
#include <intrin.h>
static int usable(void) {
  int r[4];
  __cpuid(r, 1);
  if (!(r[2] & 1 << 27) || !(r[2] & 1 << 12)) return 1; /* OSXSAVE, FMA */
  unsigned long long xcr = _xgetbv(0);
  __cpuidex(r, 7, 0);
  if ((xcr & 6) != 6 || !(r[1] & 1 << 5)) return 1;
  int avx512 = 1 << 16 | 1 << 17 | 1 << 30 | 1 << 31; /* F, DQ, BW, VL */
  return (xcr & 0xe6) == 0xe6 && (r[1] & avx512) == avx512 ? 3 : 2;
}
#else
static int usable(void) {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 1;
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")
             ? 3
             : 2;
}
#endif

const pb_table *pb_table_for(int real_bits) {
  pb_blas_one_thread();
  int best = usable() - 1;
  const char *wanted = getenv("PYBP_CPU");
  if (wanted && *wanted) {
    int k = 0;
    while (k <= best && strcmp(variants[k].name, wanted) != 0) k++;
    if (k > best) return NULL;
    best = k;
  }
  return real_bits == 64 ? variants[best].f64 : variants[best].f32;
}

const char *pb_isa_list(void) {
  static const char *const lists[] = {"", "baseline", "baseline, avx2", "baseline, avx2, avx512"};
  return lists[usable()];
}

const pb_op *pb_find_op(const pb_table *t, const char *name) {
  for (const pb_op *const *op = t->ops; *op; op++)
    if (strcmp((*op)->name, name) == 0) return *op;
  return NULL;
}

const pb_optim *pb_find_optim(const pb_table *t, const char *name) {
  for (const pb_optim *const *o = t->optims; *o; o++)
    if (strcmp((*o)->name, name) == 0) return *o;
  return NULL;
}
