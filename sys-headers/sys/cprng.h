/*
 * Stand-in for the kernel-only <sys/cprng.h>: cprng(9).
 */
#ifndef _SYS_CPRNG_H_
#define _SYS_CPRNG_H_

#include <sys/types.h>

size_t	cprng_fast(void *, size_t);

#endif
