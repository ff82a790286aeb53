/*
 * Stand-in for the kernel-only <sys/xcall.h>: xcall(9).
 */
#ifndef _SYS_XCALL_H_
#define _SYS_XCALL_H_

void	xc_barrier(unsigned int);

#endif
