/*
 * What Rust needs of NetBSD's headers and cannot call, because it is a macro.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/mbuf.h>
#include <sys/mutex.h>
#include <sys/socketvar.h>

#include <net/if.h>
#include <net/pktqueue.h>
#include <netinet/in.h>
#include <netinet/in_systm.h>
#include <netinet/ip.h>
#include <netinet/ip_var.h>
#include <netinet/ip6.h>
#include <netinet6/in6_var.h>
#include <netinet6/ip6_var.h>

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
 * Sends a whole IP packet, and consumes it. In a kernel without NET_MPSAFE the stack wants softnet_lock and the
 * kernel lock. Who runs in a packet hook has softnet_lock, as a rule; the purge thread and an ioctl do not. A
 * module cannot know which kernel it is in, and in one with NET_MPSAFE the two locks do no harm.
 */
void
pfk_output(struct mbuf *m, bool is_ipv6)
{
	const bool locked = mutex_owned(softnet_lock);

	if (is_ipv6) {
		struct ip6_hdr *const ip6 = mtod(m, struct ip6_hdr *);

		pf_set_scope(&ip6->ip6_src, m->m_pkthdr.rcvif_index);
		pf_set_scope(&ip6->ip6_dst, m->m_pkthdr.rcvif_index);
	}
	if (!locked) {
		KERNEL_LOCK(1, NULL);
		mutex_enter(softnet_lock);
	}
	/* As if forwarded: the header is complete, and its source may be an address of somebody else, whom pf answers for. */
	if (is_ipv6)
		(void)ip6_output(m, NULL, NULL, IPV6_FORWARDING, NULL, NULL, NULL);
	else
		(void)ip_output(m, NULL, NULL, IP_RAWOUTPUT, NULL, NULL);
	if (!locked) {
		mutex_exit(softnet_lock);
		KERNEL_UNLOCK_ONE(NULL);
	}
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
