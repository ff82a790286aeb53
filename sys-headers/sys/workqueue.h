/*
 * Stand-in for the kernel-only <sys/workqueue.h>: workqueue(9)'s struct work, which <net/if.h> embeds.
 */
#ifndef _SYS_WORKQUEUE_H_
#define _SYS_WORKQUEUE_H_

struct work {
	void	*wk_dummy;
};

#endif
