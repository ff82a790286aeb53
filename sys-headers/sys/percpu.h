/*
 * Stand-in for the kernel-only <sys/percpu.h>. What counts a packet of an interface needs of percpu(9).
 */
#ifndef _SYS_PERCPU_H_
#define _SYS_PERCPU_H_

#include <sys/percpu_types.h>

void	*percpu_getref(percpu_t *);
void	percpu_putref(percpu_t *);

#endif
