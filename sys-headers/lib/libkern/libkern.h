/*
 * Stand-in for the kernel-only <lib/libkern/libkern.h>: assertions, which are off in a module that is not built for
 * a DIAGNOSTIC kernel, offsetof(3), memory(9).
 */
#ifndef _LIB_LIBKERN_LIBKERN_H_
#define _LIB_LIBKERN_LIBKERN_H_

#include <sys/types.h>

#ifndef offsetof
#define offsetof(type, member)	__builtin_offsetof(type, member)
#endif

void	*memcpy(void *, const void *, size_t);
void	*memset(void *, int, size_t);

#define KASSERT(e)		((void)0)
#define KASSERTMSG(e, ...)	((void)0)
#define KDASSERT(e)		((void)0)
#define KDASSERTMSG(e, ...)	((void)0)

/* For <sys/atomic.h>. */
#ifndef CTASSERT
#define CTASSERT(x)	__CTASSERT(x)
#endif

#endif
