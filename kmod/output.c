/*
 * Packets that pf sends itself, or another way than the routing table; and what Rust needs of NetBSD's headers and
 * cannot call, because it is a macro.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/mbuf.h>
#include <sys/lwp.h>
#include <sys/mutex.h>
#include <sys/psref.h>
#include <sys/socketvar.h>

#include <net/if.h>
#include <net/pktqueue.h>
#include <netinet/in.h>
#include <netinet/in_systm.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/ip_var.h>
#include <netinet/in_offload.h>
#include <netinet/ip6.h>
#include <netinet/icmp6.h>
#include <netinet6/in6_var.h>
#include <netinet6/ip6_var.h>
#include <netinet6/in6_offload.h>

#include "pf.h"

/*
 * The network stack has the number of the interface in a link-local address, where on the wire there are zeros. An answer has it
 * from the packet that it answers.
 */
static void
pf_set_scope(struct in6_addr *address, uint16_t ifindex)
{

	if (IN6_IS_ADDR_LINKLOCAL(address))
		address->s6_addr16[1] = htons(ifindex);
}

/*
 * In a kernel without NET_MPSAFE the stack wants softnet_lock and the kernel lock. Who runs in a packet hook has
 * softnet_lock, as a rule; the purge thread and an ioctl do not. In a kernel with NET_MPSAFE the two locks do no
 * harm.
 */
static bool
pf_stack_enter(void)
{
	const bool locked = mutex_owned(softnet_lock);

	if (!locked) {
		KERNEL_LOCK(1, NULL);
		mutex_enter(softnet_lock);
	}
	return locked;
}

static void
pf_stack_exit(bool locked)
{

	if (!locked) {
		mutex_exit(softnet_lock);
		KERNEL_UNLOCK_ONE(NULL);
	}
}

/* Sends a whole IP packet, and consumes it. */
void
pfk_output(struct mbuf *m, bool is_ipv6)
{
	bool locked;

	if (is_ipv6) {
		struct ip6_hdr *const ip6 = mtod(m, struct ip6_hdr *);

		pf_set_scope(&ip6->ip6_src, m->m_pkthdr.rcvif_index);
		pf_set_scope(&ip6->ip6_dst, m->m_pkthdr.rcvif_index);
	}
	locked = pf_stack_enter();
	/* As if forwarded: the header is complete, and its source may be an address of somebody else, whom pf answers for. */
	if (is_ipv6)
		(void)ip6_output(m, NULL, NULL, IPV6_FORWARDING, NULL, NULL, NULL);
	else
		(void)ip_output(m, NULL, NULL, IP_RAWOUTPUT, NULL, NULL);
	pf_stack_exit(locked);
}

/* The MTU of an interface, as far as it can be said; 0 where there is no such interface. */
uint16_t
pfk_mtu(uint16_t index)
{
	const int bound = curlwp_bind();
	struct psref psref;
	struct ifnet *ifp;
	uint16_t mtu = 0;

	ifp = if_get_byindex(index, &psref);
	if (ifp != NULL) {
		mtu = MIN(ifp->if_mtu, UINT16_MAX);
		if_put(ifp, &psref);
	}
	curlwp_bindx(bound);
	return mtu;
}

static void
pf_route4(struct mbuf *m, struct ifnet *ifp, const void *next)
{
	struct sockaddr_in dst = {
		.sin_len = sizeof(dst),
		.sin_family = AF_INET,
	};
	struct ip *ip = mtod(m, struct ip *);
	struct mbuf *rest;
	int error = 0;

	memcpy(&dst.sin_addr, next, sizeof(dst.sin_addr));
	if (m->m_pkthdr.csum_flags & M_CSUM_TSOv4) {
		(void)ip_tso_output(ifp, m, (struct sockaddr *)&dst, NULL);
		return;
	}
	/* What comes from this host has no checksum yet. Fragments get theirs, if only from the interface, where it is asked for. */
	ip->ip_sum = 0;
	if (ntohs(ip->ip_len) > ifp->if_mtu) {
		m->m_pkthdr.csum_flags |= M_CSUM_IPv4;
		m->m_pkthdr.csum_data = (uint32_t)ip->ip_hl << 18;
		if (ip_fragment(m, ifp, ifp->if_mtu) != 0)
			return;
	} else {
		m->m_pkthdr.csum_flags &= ~M_CSUM_IPv4;
		ip->ip_sum = in_cksum(m, ip->ip_hl << 2);
	}
	for (; m != NULL; m = rest) {
		rest = m->m_nextpkt;
		m->m_nextpkt = NULL;
		if (error)
			m_freem(m);
		else
			error = if_output_lock(ifp, ifp, m, (struct sockaddr *)&dst, NULL);
	}
}

static void
pf_route6(struct mbuf *m, struct ifnet *ifp, const void *next)
{
	struct sockaddr_in6 dst = {
		.sin6_len = sizeof(dst),
		.sin6_family = AF_INET6,
	};

	memcpy(&dst.sin6_addr, next, sizeof(dst.sin6_addr));
	pf_set_scope(&dst.sin6_addr, ifp->if_index);
	if (m->m_pkthdr.csum_flags & M_CSUM_TSOv6)
		(void)ip6_tso_output(ifp, ifp, m, &dst, NULL);
	else
		(void)ip6_if_output(ifp, ifp, m, &dst, NULL);
}

/*
 * Sends a whole IP packet out of an interface, to the host there whose address of 4 or 16 bytes is given, and consumes
 * it. The IP header is in the first segment and may be written to; a packet that is too long may be fragmented.
 */
void
pfk_divert(struct mbuf *m, uint16_t index, const void *next, bool is_ipv6)
{
	const bool locked = pf_stack_enter();
	const int bound = curlwp_bind();
	struct psref psref;
	struct ifnet *ifp;

	ifp = if_get_byindex(index, &psref);
	if (ifp == NULL) {
		m_freem(m);
	} else {
		if (is_ipv6)
			pf_route6(m, ifp, next);
		else
			pf_route4(m, ifp, next);
		if_put(ifp, &psref);
	}
	curlwp_bindx(bound);
	pf_stack_exit(locked);
}

/*
 * Tells a packet's sender that it is too long for this MTU, or where that is 0, that its TTL is used up, and consumes
 * the packet.
 */
void
pfk_report(struct mbuf *m, uint16_t mtu, bool is_ipv6)
{
	const bool locked = pf_stack_enter();

	if (is_ipv6) {
		if (mtu == 0)
			icmp6_error(m, ICMP6_TIME_EXCEEDED, ICMP6_TIME_EXCEED_TRANSIT, 0);
		else
			icmp6_error(m, ICMP6_PACKET_TOO_BIG, 0, mtu);
	} else {
		if (mtu == 0)
			icmp_error(m, ICMP_TIMXCEED, ICMP_TIMXCEED_INTRANS, 0, 0);
		else
			icmp_error(m, ICMP_UNREACH, ICMP_UNREACH_NEEDFRAG, 0, mtu);
	}
	pf_stack_exit(locked);
}

/* Puts an IPv6 packet that has an interface it came by behind those that wait to come in, and consumes it. */
void
pfk_input(struct mbuf *m)
{

	if (!pktq_enqueue(ip6_pktq, m, 0))
		m_freem(m);
}

/* Whether the bytes of the first segment are shared, or not ours to write. */
bool
pfk_mbuf_is_readonly(const struct mbuf *m)
{

	return M_READONLY(m);
}
