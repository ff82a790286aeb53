/*
 * Stand-in for the kernel-only <sys/spl.h>: spl(9), as far as pf raises its level.
 */
#ifndef _SYS_SPL_H_
#define _SYS_SPL_H_

static __inline int
splsoftnet(void)
{

	return splraiseipl(makeiplcookie(IPL_SOFTNET));
}

#endif
