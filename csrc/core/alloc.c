#include "core/alloc.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "pybp.h"

static atomic_llong allocations;

int64_t pb_allocations(void) { return atomic_load(&allocations); }

void *pb_alloc(size_t bytes) {
  atomic_fetch_add(&allocations, 1);
  if (bytes > (size_t)1 << 60) return NULL;
  bytes = (bytes + PB_ALIGN - 1) / PB_ALIGN * PB_ALIGN;
  if (bytes == 0) bytes = PB_ALIGN;
#ifdef _WIN32
  void *p = _aligned_malloc(bytes, PB_ALIGN);
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
