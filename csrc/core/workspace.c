#include "core/workspace.h"

#include <stdatomic.h>

#include "core/alloc.h"

enum { SLOTS = 8 };
typedef struct {
  _Atomic(pb_workspace *) slot[SLOTS];
} workspace_cache;

static void destroy(const pb_plan *p, pb_workspace *w) {
  if (!w) return;
  if (p->accumulates) pb_free(w->grad);
  pb_free(w->ptr), pb_free(w->act), pb_free(w->scratch), pb_free(w);
}

static pb_workspace *create(const pb_plan *p, int parts) {
  pb_workspace *w = pb_alloc(sizeof *w);
  if (!w) return NULL;
  w->parts = parts;
  w->ptr = pb_alloc((size_t)p->ntensor * sizeof *w->ptr);
  w->act = pb_alloc((size_t)p->act_bytes);
  w->scratch = pb_alloc((size_t)p->scratch_bytes * (size_t)parts);
  size_t gradient = (size_t)p->nparam * (size_t)p->table->real_size;
  w->grad = p->accumulates ? pb_alloc(gradient) : p->grad;
  if (!w->ptr || !w->act || !w->scratch || (p->accumulates && !w->grad)) {
    destroy(p, w);
    return NULL;
  }
  return w;
}

/* Afresh at every take: a run may have pointed an input or output at the user's array. */
static void bind(const pb_plan *p, pb_workspace *w) {
  char *const base[] = {p->param, w->grad, w->act, (char *)p->running};
  for (int32_t i = 0; i < p->ntensor; i++)
    w->ptr[i] = base[p->tensor[i].arena] + p->tensor[i].offset;
}

bool pb_workspace_cache_new(pb_plan *p) {
  p->cache = pb_alloc(sizeof(workspace_cache));
  return p->cache != NULL;
}

void pb_workspace_cache_free(pb_plan *p) {
  workspace_cache *c = p->cache;
  if (!c) return;
  for (int i = 0; i < SLOTS; i++) destroy(p, atomic_exchange(&c->slot[i], NULL));
  pb_free(c);
  p->cache = NULL;
}

pb_workspace *pb_workspace_take(pb_plan *p, int parts) {
  workspace_cache *c = p->cache;
  pb_workspace *w = NULL;
  for (int i = 0; i < SLOTS && !w; i++)
    if (atomic_load_explicit(&c->slot[i], memory_order_relaxed))
      w = atomic_exchange(&c->slot[i], NULL);
  if (w && w->parts < parts) {
    destroy(p, w);
    w = NULL;
  }
  if (!w) w = create(p, parts);
  if (w) bind(p, w);
  return w;
}

void pb_workspace_give(pb_plan *p, pb_workspace *w) {
  workspace_cache *c = p->cache;
  for (int i = 0; i < SLOTS; i++) {
    pb_workspace *none = NULL;
    if (atomic_compare_exchange_strong(&c->slot[i], &none, w)) return;
  }
  destroy(p, w);
}

void *pb_workspace_tensor(const pb_workspace *w, int32_t tensor) { return w->ptr[tensor]; }

void pb_workspace_release(pb_plan *p, pb_workspace *w) {
  if (w) pb_workspace_give(p, w);
}
