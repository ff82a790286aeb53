/*
 * What rules ask of the rest of the network stack: who has a socket, and by which interface an address is reached.
 *
 * Synchronisation: called from the hooks, at IPL_SOFTNET and in a pserialize(9) section, where nothing may sleep. The tables of
 * sockets and the routing table are looked at with softnet_lock held, as a kernel without NET_MPSAFE holds it around the hooks
 * anyway. Where it is not held it is taken if it is free, for sockets. A kernel with NET_MPSAFE has a lock of its own for routes, which
 * may sleep, whether softnet_lock is held (as TCP holds it when it sends) or not: there, and where softnet_lock is not held, routes
 * are not looked up. What cannot be looked up is not known, and matches nothing.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/kauth.h>
#include <sys/mutex.h>
#include <sys/socket.h>
#include <sys/socketvar.h>

#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <netinet/in_pcb.h>
#include <netinet/ip6.h>
#include <netinet6/in6_pcb.h>

#include "pf.h"

extern struct inpcbtable tcbtable;
extern struct inpcbtable udbtable;

/* Who has the socket that is connected so, or else the one that listens there. Ports are in host order. */
bool
pfk_socket_owner(const struct pf_socket_ends *ends, uint32_t *uid, uint32_t *gid)
{
	struct inpcbtable *table = ends->is_tcp ? &tcbtable : &udbtable;
	struct inpcb *inp;
	struct socket *so;
	const bool take = !mutex_owned(softnet_lock);
	bool found = false;

	if (take && !mutex_tryenter(softnet_lock))
		return false;
	if (ends->is_ipv6) {
		struct in6_addr local, remote;

		memcpy(&local, ends->local, sizeof(local));
		memcpy(&remote, ends->remote, sizeof(remote));
		inp = in6pcb_lookup(table, &remote, htons(ends->remote_port), &local, htons(ends->local_port), 0, NULL);
		if (inp == NULL)
			inp = in6pcb_lookup_bound(table, &local, htons(ends->local_port), 0);
	} else {
		struct in_addr local, remote;

		memcpy(&local, ends->local, sizeof(local));
		memcpy(&remote, ends->remote, sizeof(remote));
		inp = inpcb_lookup(table, remote, htons(ends->remote_port), local, htons(ends->local_port), NULL);
		if (inp == NULL)
			inp = inpcb_lookup_bound(table, local, htons(ends->local_port));
	}
	if (inp != NULL && (so = inp->inp_socket) != NULL && so->so_cred != NULL) {
		*uid = kauth_cred_geteuid(so->so_cred);
		*gid = kauth_cred_getegid(so->so_cred);
		found = true;
	}
	if (take)
		mutex_exit(softnet_lock);
	return found;
}

/* Whether the kernel has NET_MPSAFE, which no header says to a module: it is then, and only then, that lo(4) needs no kernel lock. */
static bool
pf_is_net_mpsafe(void)
{

	return if_is_mpsafe(lo0ifp);
}

/* The index of the interface by which an address is reached, 0 for none, -1 where that cannot be known. */
int
pfk_route(bool is_ipv6, const uint8_t to[16])
{
	union {
		struct sockaddr sa;
		struct sockaddr_in sin;
		struct sockaddr_in6 sin6;
	} dst;
	struct rtentry *rt;
	int ifindex = 0;

	if (pf_is_net_mpsafe() || !mutex_owned(softnet_lock))
		return -1;
	memset(&dst, 0, sizeof(dst));
	if (is_ipv6) {
		dst.sin6.sin6_family = AF_INET6;
		dst.sin6.sin6_len = sizeof(dst.sin6);
		memcpy(&dst.sin6.sin6_addr, to, sizeof(dst.sin6.sin6_addr));
	} else {
		dst.sin.sin_family = AF_INET;
		dst.sin.sin_len = sizeof(dst.sin);
		memcpy(&dst.sin.sin_addr, to, sizeof(dst.sin.sin_addr));
	}
	rt = rtalloc1(&dst.sa, 0);
	if (rt == NULL)
		return 0;
	if (rt->rt_ifp != NULL)
		ifindex = rt->rt_ifp->if_index;
	rt_unref(rt);
	return ifindex;
}
