/*
 * Interfaces that come and go: the pfil(9) event hooks, and the scan for those that are there already.
 *
 * PFIL_IFNET_ATTACH is called before the interface has its index. So an arrival asks the purge thread for a scan;
 * and because an interface can carry nothing before it has an address, PFIL_IFADDR makes it known at the latest. A
 * departure is told at once, and comes after the interface has left the list that the scan reads. To make an
 * interface known twice does no harm.
 *
 * Synchronisation: the list is read under ifnet_mtx, so that no interface leaves while it is looked at.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/mutex.h>
#include <sys/pslist.h>

#include <net/if.h>
#include <net/pfil.h>

#include "pf.h"

/* Makes every interface known. False where memory ran out, and another scan has to make up for it. */
bool
pf_interfaces_scan(void)
{
	struct ifnet *ifp;
	bool complete = true;

	IFNET_GLOBAL_LOCK();
	IFNET_WRITER_FOREACH(ifp) {
		if (pfr_attach_interface(ifp->if_index, ifp->if_xname) != 0)
			complete = false;
	}
	IFNET_GLOBAL_UNLOCK();
	return complete;
}

static void
pf_interface_event(void *arg __unused, unsigned long event, void *object)
{
	struct ifnet *ifp = object;

	switch (event) {
	case PFIL_IFNET_ATTACH:
		pf_thread_scan();
		break;
	case PFIL_IFNET_DETACH:
		pfr_detach_interface(ifp->if_index);
		break;
	}
}

static void
pf_address_event(void *arg __unused, unsigned long cmd __unused, void *object)
{
	struct ifaddr *ifa = object;

	if (pfr_attach_interface(ifa->ifa_ifp->if_index, ifa->ifa_ifp->if_xname) != 0)
		pf_thread_scan();
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
		pf_thread_scan();
	return 0;
}

void
pf_interfaces_detach(void)
{

	(void)pfil_remove_ihook(pf_address_event, NULL, PFIL_IFADDR, if_pfil);
	pfk_drain();
	(void)pfil_remove_ihook(pf_interface_event, NULL, PFIL_IFNET, if_pfil);
	pfk_drain();
}
