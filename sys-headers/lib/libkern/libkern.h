/*
 * Stand-in for the kernel-only <lib/libkern/libkern.h>: assertions, which are off in a module that is not built for
 * a DIAGNOSTIC kernel, and offsetof(3).
 */
#ifndef _LIB_LIBKERN_LIBKERN_H_
#define _LIB_LIBKERN_LIBKERN_H_

#include <sys/cdefs.h>

#ifndef offsetof
#define offsetof(type, member)	__builtin_offsetof(type, member)
#endif

#define KASSERT(e)		((void)0)
#define KASSERTMSG(e, ...)	((void)0)
#define KDASSERT(e)		((void)0)
#define KDASSERTMSG(e, ...)	((void)0)

#endif
