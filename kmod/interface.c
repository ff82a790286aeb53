/*
 * Interfaces that come and go: the pfil(9) event hooks, and the scan for those that are there already.
 *
 * PFIL_IFNET_ATTACH is called before the interface has its index, and nothing tells when it is there. So an arrival asks the purge
 * thread for a scan, in time as a rule; PFIL_IFADDR makes the interface known on the spot; and a packet on an interface that is not
 * known goes no further, and asks for a scan. A departure is told at once, and comes after the interface has left the list that the
 * scan reads. To make an interface known twice does no harm. Who makes one known never waits for an ioctl, which may
 * be waiting for its caller's memory: it hears EBUSY, and the purge thread scans again.
 *
 * Synchronisation: the list is read under ifnet_mtx, so that no interface leaves while it is looked at. Events come in threads, and
 * may sleep. A kernel without NET_MPSAFE gives up its lock then, so pfk_drain() alone does not wait for them: they are counted, and who
 * has removed a hook waits until there are none.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/atomic.h>
#include <sys/mutex.h>
#include <sys/proc.h>
#include <sys/pserialize.h>
#include <sys/pslist.h>
#include <sys/socket.h>

#include <net/if.h>
#include <net/pfil.h>
#include <netinet/in.h>

#include "pf.h"

/* Events that are being dealt with. */
static volatile u_int pf_interface_events;

static void
pf_copy_address(uint8_t to[16], const struct sockaddr *sa)
{

	if (sa->sa_family == AF_INET)
		memcpy(to, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
	else
		memcpy(to, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
}

/* Copies as many addresses of an interface as there is room for, and says how many it has. */
size_t
pfk_interface_addresses(struct ifnet *ifp, struct pf_address *to, size_t room)
{
	struct ifaddr *ifa;
	struct pf_address *each;
	size_t found = 0;
	sa_family_t af;
	int s;

	s = pserialize_read_enter();
	IFADDR_READER_FOREACH(ifa, ifp) {
		af = ifa->ifa_addr->sa_family;
		if (af != AF_INET && af != AF_INET6)
			continue;
		if (found++ >= room)
			continue;
		each = &to[found - 1];
		memset(each, 0, sizeof(*each));
		each->is_ipv6 = af == AF_INET6;
		pf_copy_address(each->address, ifa->ifa_addr);
		/* A mask may be of no family. */
		if (ifa->ifa_netmask == NULL)
			memset(each->mask, 0xff, sizeof(each->mask));
		else if (af == AF_INET)
			memcpy(each->mask, &((const struct sockaddr_in *)(const void *)ifa->ifa_netmask)->sin_addr, 4);
		else
			memcpy(each->mask, &((const struct sockaddr_in6 *)(const void *)ifa->ifa_netmask)->sin6_addr, 16);
		if (ifa->ifa_dstaddr == NULL || ifa->ifa_dstaddr->sa_family != af)
			continue;
		each->has_broadcast = (ifp->if_flags & IFF_BROADCAST) != 0;
		each->has_peer = (ifp->if_flags & IFF_POINTOPOINT) != 0;
		pf_copy_address(each->other, ifa->ifa_dstaddr);
	}
	pserialize_read_exit(s);
	return found;
}

/* Makes every interface known. False where memory ran out or an ioctl was at work, and another scan has to make up for it. */
bool
pf_interfaces_scan(void)
{
	struct ifnet *ifp;
	bool complete = true;

	IFNET_GLOBAL_LOCK();
	IFNET_WRITER_FOREACH(ifp) {
		if (pfr_attach_interface(ifp, ifp->if_index, ifp->if_xname) != 0)
			complete = false;
	}
	IFNET_GLOBAL_UNLOCK();
	return complete;
}

static void
pf_interface_event(void *arg __unused, unsigned long event, void *object)
{
	struct ifnet *ifp = object;

	atomic_inc_uint(&pf_interface_events);
	switch (event) {
	case PFIL_IFNET_ATTACH:
		pfk_thread_scan();
		break;
	case PFIL_IFNET_DETACH:
		pfr_detach_interface(ifp->if_index);
		break;
	}
	atomic_dec_uint(&pf_interface_events);
}

static void
pf_address_event(void *arg __unused, unsigned long cmd __unused, void *object)
{
	struct ifnet *ifp = ((struct ifaddr *)object)->ifa_ifp;

	atomic_inc_uint(&pf_interface_events);
	if (pfr_attach_interface(ifp, ifp->if_index, ifp->if_xname) != 0)
		pfk_thread_scan();
	atomic_dec_uint(&pf_interface_events);
}

/*
 * Waits until every event that is going on is over: the first drain for those that have not been counted yet, the second for those that
 * have just been counted out.
 */
static void
pf_interface_events_drain(void)
{

	pfk_drain();
	while (atomic_load_acquire(&pf_interface_events) != 0)
		(void)kpause("pfevent", false, 1, NULL);
	pfk_drain();
}

int
pf_interfaces_attach(void)
{
	int error;

	error = pfil_add_ihook(pf_interface_event, NULL, PFIL_IFNET, if_pfil);
	pfk_drain();
	if (error)
		return error;
	error = pfil_add_ihook(pf_address_event, NULL, PFIL_IFADDR, if_pfil);
	pfk_drain();
	if (error) {
		pf_interfaces_detach();
		return error;
	}
	if (!pf_interfaces_scan())
		pfk_thread_scan();
	return 0;
}

void
pf_interfaces_detach(void)
{

	(void)pfil_remove_ihook(pf_address_event, NULL, PFIL_IFADDR, if_pfil);
	pf_interface_events_drain();
	(void)pfil_remove_ihook(pf_interface_event, NULL, PFIL_IFNET, if_pfil);
	pf_interface_events_drain();
}
