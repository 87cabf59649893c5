#if defined(__linux__) && !defined(_DEFAULT_SOURCE)
#define _DEFAULT_SOURCE /* for madvise */
#endif
#include "core/alloc.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#include "pybp.h"

/* Memory from here on is asked for in huge pages: activations are walked in planes that lie far apart,
   each on pages of its own, of which the machine remembers but some dozens. */
#define HUGE_BYTES ((size_t)4 << 20)
#define HUGE_PAGE ((size_t)2 << 20)

static atomic_llong allocations;

int64_t pb_allocations(void) { return atomic_load(&allocations); }

void *pb_alloc(size_t bytes) {
  atomic_fetch_add(&allocations, 1);
  if (bytes > (size_t)1 << 60) return NULL;
  bytes = (bytes + PB_ALIGN - 1) / PB_ALIGN * PB_ALIGN;
  if (bytes == 0) bytes = PB_ALIGN;
#ifdef _WIN32
  void *p = _aligned_malloc(bytes, PB_ALIGN);
#elif defined(MADV_HUGEPAGE)
  bool huge = bytes >= HUGE_BYTES;
  if (huge) bytes = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
  void *p = aligned_alloc(huge ? HUGE_PAGE : PB_ALIGN, bytes);
  if (p && huge) (void)madvise(p, bytes, MADV_HUGEPAGE); /* a wish: without it, it works too */
#else
  void *p = aligned_alloc(PB_ALIGN, bytes);
#endif
  if (p) memset(p, 0, bytes);
  return p;
}

void pb_free(void *p) {
#ifdef _WIN32
  _aligned_free(p);
#else
  free(p);
#endif
}
