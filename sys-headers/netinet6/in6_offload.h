/*
 * Stand-in for the kernel-only <netinet6/in6_offload.h>: what <netinet/in_offload.h> has for IPv4.
 */
#ifndef _NETINET6_IN6_OFFLOAD_H_
#define _NETINET6_IN6_OFFLOAD_H_

struct ifnet;
struct mbuf;
struct rtentry;
struct sockaddr_in6;

int	ip6_tso_output(struct ifnet *, struct ifnet *, struct mbuf *, const struct sockaddr_in6 *, struct rtentry *);
void	in6_undefer_cksum_tcpudp(struct mbuf *);

#endif
