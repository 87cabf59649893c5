/* Aligned memory, counted: the tests prove that a running plan asks for none. */
#ifndef PB_ALLOC_H
#define PB_ALLOC_H

#include <stddef.h>

void *pb_alloc(size_t bytes); /* zeroed, on a cache line; NULL when there is none */
void pb_free(void *);

#endif
