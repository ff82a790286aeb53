/*
 * pflog(4): interfaces on which bpf(4) shows the packets that rules log.
 *
 * Life cycle: `ifconfig pflogN create` makes one, `ifconfig pflogN destroy` unmakes it, as does the unload of the module. A load
 * makes none, as with NetBSD's own pf: rc.d/pflogd and the admin do.
 *
 * Synchronisation: who logs a packet finds the interface in pf_pflog.ifs inside of a pserialize(9) read section; who takes one
 * away clears its place, and waits for the readers before it goes. if_clone(4) makes one call at a time, but an unload may meet
 * one, so pf_pflog.lock says who takes an interface away.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/atomic.h>
#include <sys/errno.h>
#include <sys/mbuf.h>
#include <sys/mutex.h>
#include <sys/pserialize.h>
#include <sys/sockio.h>

#include <net/bpf.h>
#include <net/if.h>
#include <net/if_pflog.h>
#include <net/if_stats.h>
#include <net/if_types.h>

#include "pf.h"

/* As much as a reader can be shown of a packet. */
#define PF_PFLOG_MTU	(65535 + PFLOG_HDRLEN)

static struct {
	kmutex_t	lock;
	pserialize_t	readers;
	struct ifnet	*ifs[PFLOGIFS_MAX];
} pf_pflog;

/* Nothing is ever sent to it. */
static int
pf_pflog_output(struct ifnet *ifp __unused, struct mbuf *m, const struct sockaddr *dst __unused,
    const struct rtentry *rt __unused)
{

	m_freem(m);
	return 0;
}

static int
pf_pflog_ioctl(struct ifnet *ifp, u_long cmd, void *data)
{
	int error;

	error = ifioctl_common(ifp, cmd, data);
	if (error == 0 && cmd == SIOCSIFFLAGS) {
		if (ifp->if_flags & IFF_UP)
			ifp->if_flags |= IFF_RUNNING;
		else
			ifp->if_flags &= ~IFF_RUNNING;
	}
	return error;
}

static int
pf_pflog_create(struct if_clone *cloner, int unit)
{
	struct ifnet *ifp;

	if (unit < 0 || unit >= PFLOGIFS_MAX)
		return EINVAL;
	ifp = if_alloc(IFT_PFLOG);
	if_initname(ifp, cloner->ifc_name, unit);
	ifp->if_softc = (void *)(uintptr_t)unit;
	ifp->if_mtu = PF_PFLOG_MTU;
	ifp->if_type = IFT_PFLOG;
	ifp->if_hdrlen = PFLOG_HDRLEN;
	ifp->if_dlt = DLT_PFLOG;
	ifp->if_ioctl = pf_pflog_ioctl;
	ifp->if_output = pf_pflog_output;
	if_initialize(ifp);
	if_alloc_sadl(ifp);
	if_register(ifp);
	bpf_attach(ifp, DLT_PFLOG, PFLOG_HDRLEN);
	atomic_store_release(&pf_pflog.ifs[unit], ifp);
	return 0;
}

static int
pf_pflog_destroy(struct ifnet *ifp)
{
	const u_int unit = (u_int)(uintptr_t)ifp->if_softc;
	bool ours;

	mutex_enter(&pf_pflog.lock);
	ours = pf_pflog.ifs[unit] == ifp;
	if (ours) {
		atomic_store_relaxed(&pf_pflog.ifs[unit], NULL);
		pserialize_perform(pf_pflog.readers);
	}
	mutex_exit(&pf_pflog.lock);
	if (!ours)
		return ENXIO;
	bpf_detach(ifp);
	if_detach(ifp);
	if_free(ifp);
	return 0;
}

static struct if_clone pf_pflog_cloner = IF_CLONE_INITIALIZER("pflog", pf_pflog_create, pf_pflog_destroy);

void
pf_pflog_attach(void)
{

	mutex_init(&pf_pflog.lock, MUTEX_DEFAULT, IPL_NONE);
	pf_pflog.readers = pserialize_create();
	if_clone_attach(&pf_pflog_cloner);
}

void
pf_pflog_detach(void)
{
	struct ifnet *ifp;

	if_clone_detach(&pf_pflog_cloner);
	/* As if_clone(4) does, in a kernel without NET_MPSAFE: under this lock interfaces, addresses and routes change there. */
	KERNEL_LOCK(1, NULL);
	for (u_int i = 0; i < __arraycount(pf_pflog.ifs); i++) {
		if ((ifp = pf_pflog.ifs[i]) != NULL)
			(void)pf_pflog_destroy(ifp);
	}
	KERNEL_UNLOCK_ONE(NULL);
	pserialize_destroy(pf_pflog.readers);
	mutex_destroy(&pf_pflog.lock);
}

/*
 * The interface, if somebody reads it, and its readers, in a read section. bpf(4) takes if_bpf away when the last reader goes, and
 * waits for nobody after that: so it is looked at once. What it points to stays as long as the interface.
 */
static struct ifnet *
pf_pflog_read(uint8_t number, struct bpf_if **readers)
{
	struct ifnet *ifp;

	if (number >= PFLOGIFS_MAX)
		return NULL;
	ifp = atomic_load_consume(&pf_pflog.ifs[number]);
	if (ifp == NULL)
		return NULL;
	*readers = atomic_load_consume(&ifp->if_bpf);
	return *readers != NULL ? ifp : NULL;
}

bool
pfk_log_has_reader(uint8_t number)
{
	const int s = pserialize_read_enter();
	struct bpf_if *readers;
	const bool has = pf_pflog_read(number, &readers) != NULL;

	pserialize_read_exit(s);
	return has;
}

/* Shows the packet behind its header, a struct pfloghdr. Neither changes. */
void
pfk_log_packet(uint8_t number, const void *header, struct mbuf *m)
{
	const int s = pserialize_read_enter();
	struct bpf_if *readers;
	struct ifnet *ifp = pf_pflog_read(number, &readers);

	if (ifp != NULL) {
		if_statadd2(ifp, if_opackets, 1, if_obytes, (uint64_t)m->m_pkthdr.len);
		bpf_mtap2(readers, __UNCONST(header), PFLOG_HDRLEN, m, BPF_D_OUT);
	}
	pserialize_read_exit(s);
}
