/* test.h - the driver's harness: tests with names, checks that say what failed, and random numbers
 * that repeat.
 *
 * Each file here ends with an array of its tests, closed by an empty one; main.c runs them all, or
 * those whose names contain an argument of the command line.
 */
#ifndef PB_TEST_H
#define PB_TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pybp.h"

typedef struct {
  const char *name;
  void (*once)(void);
  void (*each)(const pb_table *); /* or: once for every precision and instruction set */
} test;

extern const test tests_random[], tests_sources[], tests_math[], tests_gemm[], tests_ops[],
    tests_blas[], tests_optim[], tests_update[], tests_dispatch[], tests_seal[], tests_fuzz[],
    tests_train[], tests_slices[], tests_diverge[], tests_interrupt[], tests_map[], tests_threads[],
    tests_lanes[], tests_running[], tests_sparse[], tests_conv[];

#ifdef __GNUC__
#define PRINTF_LIKE(text, args) __attribute__((format(printf, text, args)))
#else
#define PRINTF_LIKE(text, args)
#endif

/* Fails the running test with a sentence when `ok` is false; returns `ok`. Main thread only. */
#define CHECK(ok, ...) check(ok, __FILE__, __LINE__, __VA_ARGS__)
bool check(bool ok, const char *file, int line, const char *format, ...) PRINTF_LIKE(4, 5);

/* Leaves the running test out of the count: it has nothing to do on this machine. */
void skip(const char *why);

/* Kernels of every instruction set that this CPU has, up to the one that PYBP_CPU names. */
int table_count(void);
const pb_table *table_at(int i);   /* 32-bit and 64-bit reals take turns */
void choose_cpu(const char *name); /* sets PYBP_CPU; NULL puts back what the user set */

/* --- random numbers: Vigna's splitmix64 --------------------------------------------------------- */

typedef struct {
  uint64_t state;
} rng;

uint64_t rng_bits(rng *);
int64_t rng_below(rng *, int64_t bound); /* 0 .. bound - 1 */
double rng_uniform(rng *);               /* [-1, 1) */

/* --- memory and reals --------------------------------------------------------------------------- */

/* Zeroed, on a cache line, and not a byte longer than asked, so that tools see every overrun. */
void *exact_alloc(int64_t bytes);
void exact_free(void *);

double get_real(const pb_table *, const void *array, int64_t i);
void put_real(const pb_table *, void *array, int64_t i, double value);
double as_real(const pb_table *, double value); /* rounded to the table's precision */
bool close_to(double value, double wanted,
              double tolerance); /* |error| <= tolerance (1 + |wanted|) */

#endif
