/*
 * Stand-in for the kernel-only <sys/cpu_data.h>: <machine/cpu.h> embeds struct cpu_data in struct cpu_info, and
 * <sys/lwp.h> names two members in inline functions. NOT the kernel's struct: nothing that depends on its size or
 * offsets may be used.
 */
#ifndef _SYS_CPU_DATA_H_
#define _SYS_CPU_DATA_H_

#include <sys/sched.h>

struct cpu_data {
	struct schedstate_percpu	cpu_schedstate;
	struct lwp			*cpu_idlelwp;
};

#define ci_schedstate	ci_data.cpu_schedstate

#endif
