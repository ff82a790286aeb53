/*
 * CPUs, as far as counters have to tell them apart: each is known by the address of its struct cpu_info, whatever that
 * struct has in it.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/cpu.h>

#include "pf.h"

/* The CPU with this number. False where there is none. */
bool
pfk_cpu(u_int number, uintptr_t *cpu)
{

	*cpu = (uintptr_t)cpu_lookup(number);
	return *cpu != 0;
}
