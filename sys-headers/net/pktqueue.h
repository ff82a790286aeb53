/*
 * Stand-in for the kernel-only <net/pktqueue.h>: the type that <net/if.h> has pointers to.
 */
#ifndef _NET_PKTQUEUE_H_
#define _NET_PKTQUEUE_H_

typedef struct pktqueue	pktqueue_t;

#endif
