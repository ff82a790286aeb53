/*
 * Stand-in for the kernel-only <sys/percpu_types.h>: percpu(9) as pointers to it need it.
 */
#ifndef _SYS_PERCPU_TYPES_H_
#define _SYS_PERCPU_TYPES_H_

typedef struct percpu	percpu_t;

#endif
