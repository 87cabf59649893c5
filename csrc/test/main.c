/* The C test driver: every kernel and the whole machine, without Python.
 *
 *     driver [PART_OF_A_NAME]...      exit status 1 when a test has failed
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/threads.h"
#include "test/test.h"

enum { MAX_TABLES = 16, SHOWN_FAILURES = 5 };

static struct {
  const pb_table *table[MAX_TABLES];
  int tables;
  char cpu[64]; /* what the user set PYBP_CPU to */
  const char *suite, *name;
  const pb_table *variant;
  int failures;        /* of the running test */
  const char *skipped; /* why the running test was */
  int passed, failed;
} driver;

bool check(bool ok, const char *file, int line, const char *format, ...) {
  if (ok || ++driver.failures > SHOWN_FAILURES) return ok;
  printf("  %s: %s", driver.suite, driver.name);
  if (driver.variant) printf(" [f%d %s]", driver.variant->real_size * 8, driver.variant->isa);
  printf("\n    %s:%d: ", file, line);
  va_list args;
  va_start(args, format);
  vprintf(format, args);
  va_end(args);
  printf("\n");
  return ok;
}

void skip(const char *why) { driver.skipped = why; }

/* --- instruction sets --------------------------------------------------------------------------- */

static void set_variable(const char *value) {
#ifdef _WIN32
  _putenv_s("PYBP_CPU", value);
#else
  setenv("PYBP_CPU", value, 1);
#endif
}

void choose_cpu(const char *name) { set_variable(name ? name : driver.cpu); }

int table_count(void) { return driver.tables; }
const pb_table *table_at(int i) { return driver.table[i]; }

static void find_tables(void) {
  const char *wanted = getenv("PYBP_CPU");
  snprintf(driver.cpu, sizeof driver.cpu, "%s", wanted ? wanted : "");
  char names[128], *name = names;
  snprintf(names, sizeof names, "%s", pb_isa_list());
  while (name && driver.tables + 2 <= MAX_TABLES) {
    char *comma = strchr(name, ',');
    if (comma) *comma = 0;
    choose_cpu(name);
    for (int bits = 32; bits <= 64; bits += 32)
      if (pb_table_for(bits)) driver.table[driver.tables++] = pb_table_for(bits);
    if (strcmp(name, driver.cpu) == 0) break;
    name = comma ? comma + 2 : NULL;
  }
  if (*driver.cpu && strcmp(driver.table[driver.tables - 1]->isa, driver.cpu) != 0)
    driver.tables = 0;
  choose_cpu(NULL);
}

/* --- random numbers, memory, reals -------------------------------------------------------------- */

uint64_t rng_bits(rng *r) {
  uint64_t z = r->state += UINT64_C(0x9E3779B97F4A7C15);
  z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
  return z ^ z >> 31;
}

int64_t rng_below(rng *r, int64_t bound) { return (int64_t)(rng_bits(r) % (uint64_t)bound); }

double rng_uniform(rng *r) { return (double)(rng_bits(r) >> 11) * 0x1p-52 - 1; }

void *exact_alloc(int64_t bytes) {
  void *p = NULL;
#ifdef _WIN32
  p = _aligned_malloc((size_t)bytes, PB_ALIGN);
#else
  if (posix_memalign(&p, PB_ALIGN, (size_t)bytes) != 0) p = NULL;
#endif
  if (!p) {
    fprintf(stderr, "driver: no memory for %lld bytes\n", (long long)bytes);
    exit(2);
  }
  return memset(p, 0, (size_t)bytes);
}

void exact_free(void *p) {
#ifdef _WIN32
  _aligned_free(p);
#else
  free(p);
#endif
}

double get_real(const pb_table *t, const void *array, int64_t i) {
  return t->real_size == 8 ? ((const double *)array)[i] : (double)((const float *)array)[i];
}

void put_real(const pb_table *t, void *array, int64_t i, double value) {
  if (t->real_size == 8) ((double *)array)[i] = value;
  else ((float *)array)[i] = (float)value;
}

double as_real(const pb_table *t, double value) {
  return t->real_size == 8 ? value : (double)(float)value;
}

bool close_to(double value, double wanted, double tolerance) {
  return fabs(value - wanted) <= tolerance * (1 + fabs(wanted));
}

/* --- running ------------------------------------------------------------------------------------ */

static void run_one(const test *t, const pb_table *variant) {
  driver.name = t->name, driver.variant = variant, driver.failures = 0, driver.skipped = NULL;
  if (variant) t->each(variant);
  else t->once();
  if (driver.failures > SHOWN_FAILURES)
    printf("    ... and %d more\n", driver.failures - SHOWN_FAILURES);
  if (driver.skipped && (!variant || variant == driver.table[0]))
    printf("  %s: %s: skipped, %s\n", driver.suite, t->name, driver.skipped);
  if (driver.failures) driver.failed++;
  else if (!driver.skipped) driver.passed++;
}

static bool asked_for(const char *suite, const char *name, int argc, char **argv) {
  char full[256];
  snprintf(full, sizeof full, "%s: %s", suite, name);
  for (int i = 1; i < argc; i++)
    if (strstr(full, argv[i])) return true;
  return argc < 2;
}

static void run_suite(const char *suite, const test *tests, int argc, char **argv) {
  int before = driver.passed;
  double started = pb_now();
  driver.suite = suite;
  for (const test *t = tests; t->name; t++) {
    if (!asked_for(suite, t->name, argc, argv)) continue;
    if (t->once) run_one(t, NULL);
    for (int i = 0; t->each && i < driver.tables; i++) run_one(t, driver.table[i]);
  }
  if (driver.passed > before)
    printf("%-10s %4d passed in %.2f s\n", suite, driver.passed - before, pb_now() - started);
  fflush(stdout);
}

int main(int argc, char **argv) {
  setvbuf(stdout, NULL, _IOLBF, 1 << 12);
  find_tables();
  if (driver.tables == 0) {
    printf("PYBP_CPU=%s names no instruction set of this CPU: %s\n", driver.cpu, pb_isa_list());
    return 2;
  }
  printf("instruction sets: %s; best tested: %s; products: %s\n", pb_isa_list(),
         driver.table[driver.tables - 1]->isa, pb_blas_name());
#define SUITE(name) run_suite(#name, tests_##name, argc, argv)
  SUITE(random), SUITE(sources), SUITE(math), SUITE(gemm), SUITE(ops), SUITE(blas), SUITE(optim),
      SUITE(update);
  SUITE(dispatch), SUITE(seal), SUITE(fuzz), SUITE(train), SUITE(slices), SUITE(diverge);
  SUITE(interrupt), SUITE(map), SUITE(threads), SUITE(lanes), SUITE(running), SUITE(sparse),
      SUITE(conv);
  printf("%d passed, %d failed\n", driver.passed, driver.failed);
  return driver.failed > 0 || driver.passed == 0;
}
