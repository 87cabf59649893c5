/* A dense layer so large that its products go to the BLAS library, where there is one. */
#include <string.h>

#include "test/use.h"

/* One pass over rows [first, first + n); the sum of the weights' and biases' gradients grows by its
   own, and its other tensors should agree with what `whole` has there. */
static void part_of_pass(const use *u, model *m, pb_workspace *whole, int64_t first, int64_t n,
                         double *sum) {
  const pb_table *t = m->plan->table;
  pb_source from[SOURCES];
  for (int k = 0; k < u->draft.nsource; k++) {
    from[k] = u->source[k];
    from[k].data = (const char *)from[k].data + first * from[k].row_stride, from[k].rows = n;
  }
  pb_workspace *w = NULL;
  CHECK(pb_once(m->plan, from, n, true, 0, 0, NULL, &w) == PB_OK, "a part fails");
  const int32_t rows[] = {u->y, u->dx[0]};
  for (int k = 0; k < 2; k++) {
    int64_t size = pb_shape_size(&u->draft.tensor[rows[k]].shape);
    for (int64_t i = 0; i < n * size; i++) {
      double value = get_real(t, pb_workspace_tensor(w, rows[k]), i);
      double wanted = get_real(t, pb_workspace_tensor(whole, rows[k]), first * size + i);
      if (!CHECK(close_to(value, wanted, t->real_size == 8 ? 1e-12 : 1e-4),
                 "tensor %d, row %d: %.9g in BLAS, %.9g otherwise", k, (int)(first + i / size),
                 wanted, value))
        break;
    }
  }
  for (int j = 1; j < 3; j++)
    for (int64_t i = 0; i < u->count[j]; i++)
      *sum++ += get_real(t, pb_workspace_tensor(w, u->dx[j]), i);
  pb_workspace_release(m->plan, w);
}

/* A batch so large that it goes to the BLAS library, where there is one, against its parts, which
   do not. */
static void dense_in_blas(const pb_table *t) {
  enum { ROWS = 720, INPUTS = 600, OUTPUTS = 270, PARTS = 6 };
  if (strcmp(pb_blas_name(), "built-in") == 0) {
    skip("built without BLAS");
    return;
  }
  op_case c = *find_case("dense", 3, 7);
  c.in[0].dim[0] = c.in[1].dim[1] = INPUTS, c.in[1].dim[0] = c.in[2].dim[0] = OUTPUTS;
  use u = use_new(t, &c, ROWS, false);
  model m = model_new(&u.draft);
  void *ptr[MAX_TENSORS];
  use_places(&u, &m, ptr);
  use_fill(&u, ptr);
  pb_workspace *w = NULL;
  double *sum = numbers(u.count[1] + u.count[2]), *whole = numbers(u.count[1] + u.count[2]);
  if (model_seal(&m) && pb_once(m.plan, u.source, ROWS, true, 0, 0, NULL, &w) == PB_OK) {
    for (int64_t i = 0; i < u.count[1]; i++) whole[i] = get_real(t, ptr[u.dx[1]], i);
    for (int64_t i = 0; i < u.count[2]; i++) whole[u.count[1] + i] = get_real(t, ptr[u.dx[2]], i);
    for (int k = 0; k < PARTS; k++) part_of_pass(&u, &m, w, k * ROWS / PARTS, ROWS / PARTS, sum);
    for (int64_t i = 0; i < u.count[1] + u.count[2]; i++)
      if (!CHECK(close_to(whole[i], sum[i], t->real_size == 8 ? 1e-12 : 1e-4),
                 "gradient %d: %.9g in BLAS, %.9g otherwise", (int)i, whole[i], sum[i]))
        break;
    pb_workspace_release(m.plan, w);
  }
  exact_free(sum), exact_free(whole);
  model_free(&m);
  use_free(&u);
}

const test tests_blas[] = {
    {"dense", NULL, dense_in_blas},
    {0},
};
