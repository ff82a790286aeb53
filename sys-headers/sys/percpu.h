/*
 * Stand-in for the kernel-only <sys/percpu.h>. Nothing of it but the type is used.
 */
#ifndef _SYS_PERCPU_H_
#define _SYS_PERCPU_H_

#include <sys/percpu_types.h>

#endif
