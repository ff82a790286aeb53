/*
 * /dev/pf: driver(9) entry points, and who may use them.
 *
 * Life cycle: the kernel has a major number set aside for the name "pf", so the node that MAKEDEV(8) made fits.
 * There is one minor, 0. The device can be opened by several processes; its close entry is called for the last of
 * them.
 *
 * What a process holds (the lock of the state table, if it was taken with an owner) is released when the process ends, of which
 * the exit hook tells, or at the latest with the last close.
 *
 * Synchronisation: the driver is D_MPSAFE, and the engine serialises what it must. pf_device.lock covers whether
 * the device is open and whether the module is about to leave, so that an open and an unload cannot both win.
 * devsw_detach(9) then waits for every call that is still inside.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/conf.h>
#include <sys/errno.h>
#include <sys/fcntl.h>
#include <sys/ioccom.h>
#include <sys/kauth.h>
#include <sys/lwp.h>
#include <sys/mutex.h>
#include <sys/proc.h>

#include "pf.h"

#ifdef PF_FAULT_INJECTION
/* For tests: after as many allocations as the upper half says, as many as the lower half says fail. */
#define DIOCXFAIL	_IOW('D', 201, uint64_t)
#endif

static struct {
	kmutex_t		lock;
	bool			open;
	bool			leaving;
	kauth_listener_t	listener;
	void			*exithook;
} pf_device;

static int
pf_open(dev_t dev, int flags __unused, int mode __unused, struct lwp *l __unused)
{
	int error = 0;

	if (minor(dev) != 0)
		return ENXIO;
	mutex_enter(&pf_device.lock);
	if (pf_device.leaving)
		error = ENXIO;
	else
		pf_device.open = true;
	mutex_exit(&pf_device.lock);
	return error;
}

static int
pf_close(dev_t dev __unused, int flags __unused, int mode __unused, struct lwp *l __unused)
{

	pfr_close(0);
	mutex_enter(&pf_device.lock);
	pf_device.open = false;
	mutex_exit(&pf_device.lock);
	return 0;
}

static int
pf_ioctl(dev_t dev __unused, u_long cmd, void *data, int flags, struct lwp *l)
{
	/* The kernel's word on the caller: secmodel_securelevel(9) says no from level 2 on. */
	const bool allowed = kauth_authorize_network(l->l_cred, KAUTH_NETWORK_FIREWALL, KAUTH_REQ_NETWORK_FIREWALL_FW,
	    NULL, NULL, NULL) == 0;
	const bool writable = (flags & FWRITE) != 0;
	/* An ioctl without an argument hands a pointer to its int over: pf has no use for it. */
	const size_t len = (cmd & IOC_INOUT) != 0 ? IOCPARM_LEN(cmd) : 0;

#ifdef PF_FAULT_INJECTION
	if (cmd == DIOCXFAIL) {
		const uint64_t what = *(uint64_t *)data;

		if (!allowed || !writable)
			return EPERM;
		pfr_fail_allocations((uint32_t)(what >> 32), (uint32_t)what);
		return 0;
	}
#endif
	return pfr_ioctl(cmd, data, len, writable, allowed, kauth_cred_getuid(l->l_cred), l->l_proc->p_pid);
}

static const struct cdevsw pf_cdevsw = {
	.d_open = pf_open,
	.d_close = pf_close,
	.d_read = noread,
	.d_write = nowrite,
	.d_ioctl = pf_ioctl,
	.d_stop = nostop,
	.d_tty = notty,
	.d_poll = nopoll,
	.d_mmap = nommap,
	.d_kqfilter = nokqfilter,
	.d_discard = nodiscard,
	.d_flag = D_OTHER | D_MPSAFE,
};

/*
 * Who could open /dev/pf for writing may use it, whoever they are now: ftp-proxy(8) and others open it and then
 * give up root. A listener can only allow; secmodel_securelevel(9) still denies.
 */
static int
pf_listen(kauth_cred_t cred __unused, kauth_action_t action, void *cookie __unused, void *req, void *arg1 __unused,
    void *arg2 __unused, void *arg3 __unused)
{

	if (action == KAUTH_NETWORK_FIREWALL && ((uintptr_t)req == KAUTH_REQ_NETWORK_FIREWALL_FW ||
	    (uintptr_t)req == KAUTH_REQ_NETWORK_FIREWALL_NAT))
		return KAUTH_RESULT_ALLOW;
	return KAUTH_RESULT_DEFER;
}

/* A process ends. */
static void
pf_exit(struct proc *p, void *cookie __unused)
{

	pfr_close(p->p_pid);
}

/* Opens the door. */
int
pf_device_attach(void)
{
	devmajor_t bmajor = NODEVMAJOR, cmajor = NODEVMAJOR;
	int error;

	mutex_init(&pf_device.lock, MUTEX_DEFAULT, IPL_NONE);
	pf_device.listener = kauth_listen_scope(KAUTH_SCOPE_NETWORK, pf_listen, NULL);
	pf_device.exithook = exithook_establish(pf_exit, NULL);
	error = devsw_attach("pf", NULL, &bmajor, &pf_cdevsw, &cmajor);
	if (error) {
		exithook_disestablish(pf_device.exithook);
		kauth_unlisten_scope(pf_device.listener);
		mutex_destroy(&pf_device.lock);
	}
	return error;
}

/* Closes it, unless somebody is inside or pf is in use: then it stays open, and the error is EBUSY. */
int
pf_device_detach(void)
{
	bool busy;

	mutex_enter(&pf_device.lock);
	busy = pf_device.open || pfr_is_running();
	pf_device.leaving = !busy;
	mutex_exit(&pf_device.lock);
	if (busy)
		return EBUSY;

	devsw_detach(NULL, &pf_cdevsw);
	exithook_disestablish(pf_device.exithook);
	kauth_unlisten_scope(pf_device.listener);
	mutex_destroy(&pf_device.lock);
	return 0;
}
