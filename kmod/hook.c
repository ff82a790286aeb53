/*
 * Packets: the pfil(9) hooks for IPv4 and IPv6.
 *
 * Life cycle: the hooks are there while pf is enabled (DIOCSTART to DIOCSTOP), so that a loaded and disabled pf
 * costs a packet nothing.
 *
 * Synchronisation: src/module.rs attaches and detaches under a lock of its own. A kernel with NET_MPSAFE runs hooks
 * on any CPU, and pfil(9) waits for them when one is removed. A kernel without it, as GENERIC is, runs them under
 * softnet_lock or the kernel lock and does not wait; and as it swaps between two copies of its list, a second
 * change could meet a reader of the first. So each change is followed by pfk_drain().
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/errno.h>
#include <sys/mbuf.h>
#include <sys/mutex.h>
#include <sys/socket.h>
#include <sys/socketvar.h>
#include <sys/xcall.h>

#include <net/if.h>
#include <net/pfil.h>

#include "pf.h"

static const int pf_families[] = { AF_INET, AF_INET6 };

static int
pf_hook(void *arg __unused, struct mbuf **mp, struct ifnet *ifp, int direction)
{

	return pfr_hook(mp, ifp->if_index, direction, (ifp->if_flags & IFF_LOOPBACK) != 0);
}

static pfil_head_t *
pf_hook_head(int family)
{

	return pfil_head_get(PFIL_TYPE_AF, (void *)(uintptr_t)family);
}

/* Both or none. A kernel that lacks a family has no hook for it, and no packets. */
int
pfk_hooks_attach(void)
{
	pfil_head_t *head;
	int error;

	for (u_int i = 0; i < __arraycount(pf_families); i++) {
		if ((head = pf_hook_head(pf_families[i])) == NULL)
			continue;
		error = pfil_add_hook(pf_hook, NULL, PFIL_IN | PFIL_OUT, head);
		pfk_drain();
		if (error) {
			pfk_hooks_detach();
			return error;
		}
	}
	return 0;
}

void
pfk_hooks_detach(void)
{
	pfil_head_t *head;

	for (u_int i = 0; i < __arraycount(pf_families); i++) {
		if ((head = pf_hook_head(pf_families[i])) == NULL)
			continue;
		(void)pfil_remove_hook(pf_hook, NULL, PFIL_IN | PFIL_OUT, head);
		pfk_drain();
	}
}

/* Waits until every hook that was running at the call has returned. */
void
pfk_drain(void)
{

	KERNEL_LOCK(1, NULL);
	mutex_enter(softnet_lock);
	mutex_exit(softnet_lock);
	KERNEL_UNLOCK_ONE(NULL);
	xc_barrier(0);
}
