/*
 * Stand-in for the kernel-only <net/pktqueue.h>: the type that <net/if.h> has pointers to, and how a packet gets into
 * such a queue.
 */
#ifndef _NET_PKTQUEUE_H_
#define _NET_PKTQUEUE_H_

typedef struct pktqueue	pktqueue_t;

bool	pktq_enqueue(pktqueue_t *, struct mbuf *, const u_int);

#endif
