/*
 * Stand-in for the kernel-only <sys/cpu.h>: the CPUs by their numbers.
 */
#ifndef _SYS_CPU_H_
#define _SYS_CPU_H_

#include <sys/types.h>

#include <machine/cpu.h>

struct cpu_info	*cpu_lookup(u_int);

#endif
