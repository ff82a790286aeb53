/*
 * Stand-in for the kernel-only <netinet6/in6_offload.h>: what <netinet/in_offload.h> has for IPv4.
 */
#ifndef _NETINET6_IN6_OFFLOAD_H_
#define _NETINET6_IN6_OFFLOAD_H_

struct mbuf;

void	in6_undefer_cksum_tcpudp(struct mbuf *);

#endif
