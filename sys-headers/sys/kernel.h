/*
 * Stand-in for the kernel-only <sys/kernel.h>: hz(9) and the ticks it counts.
 */
#ifndef _SYS_KERNEL_H_
#define _SYS_KERNEL_H_

extern int	hz;

int	getticks(void);

#endif
