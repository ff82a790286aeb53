/*
 * /dev/pf: driver(9) entry points, the files that an open makes, and who may use them.
 *
 * Life cycle: the kernel has a major number set aside for the name "pf", so the node that MAKEDEV(8) made fits.
 * There is one minor, 0. The driver would hear of its last close alone, so each open(2) makes a file of its own, with
 * its own operations. That file, with every descriptor that was dup'ed, inherited or passed on from it, is one owner of what
 * an ioctl takes until it is released: the lock of the state table, and the lists that are being loaded. Both go with the
 * close of the file's last descriptor.
 *
 * Synchronisation: the driver and the files are MP-safe, and the engine serialises what it must. pf_device.lock covers
 * how many files are open and whether the module is about to leave, so that an open and an unload cannot both win.
 * devsw_detach(9) then waits for every open that is still inside. For a close nobody waits, so it says itself when it
 * has left the module: see pf_file_close.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/atomic.h>
#include <sys/conf.h>
#include <sys/errno.h>
#include <sys/fcntl.h>
#include <sys/file.h>
#include <sys/filedesc.h>
#include <sys/filio.h>
#include <sys/ioccom.h>
#include <sys/kauth.h>
#include <sys/kmem.h>
#include <sys/lwp.h>
#include <sys/mutex.h>
#include <sys/proc.h>
#include <sys/queue.h>
#include <sys/stat.h>

#include "pf.h"

#ifdef PF_FAULT_INJECTION
/* For tests: after as many allocations as the upper half says, as many as the lower half says fail. */
#define DIOCXFAIL	_IOW('D', 201, uint64_t)
#endif

/* What an open of the device has made. */
struct pf_file {
	LIST_ENTRY(pf_file)	link;
	uint64_t		owner;		/* never 0, never the same again */
	dev_t			dev;
	unsigned int		inside;		/* 1, until the close has left the module */
};

static struct {
	kmutex_t		lock;
	uint64_t		last_owner;
	size_t			open;		/* files, and opens on their way */
	LIST_HEAD(, pf_file)	closing;	/* from the end of `open' until somebody has seen them gone */
	bool			leaving;
	kauth_listener_t	listener;
} pf_device;

/* Frees what closed files have left. The caller has the lock. */
static void
pf_forget_closed(void)
{
	struct pf_file *file, *next;

	LIST_FOREACH_SAFE(file, &pf_device.closing, link, next) {
		if (atomic_load_acquire(&file->inside) != 0)
			continue;
		LIST_REMOVE(file, link);
		kmem_intr_free(file, sizeof(*file));
	}
}

/* atomic_dec_uint_nv(3) of what `word' points to, by a type that a close can end in. */
int	pf_leave(struct file *word) __asm("atomic_dec_uint_nv");

/*
 * The last descriptor has gone. As soon as the lock knows of that, the module may be unloaded, and the kernel does not know
 * that somebody is still in here: so the file counts as closing until its word is 0. The jump to pf_leave makes it 0, in
 * the kernel's text, and that is the answer as well: success.
 */
static int
pf_file_close(struct file *fp)
{
	struct pf_file *const file = fp->f_data;

	pfr_close(file->owner);
	mutex_enter(&pf_device.lock);
	pf_forget_closed();
	LIST_INSERT_HEAD(&pf_device.closing, file, link);
	pf_device.open--;
	mutex_exit(&pf_device.lock);
	membar_release();
	__attribute__((__musttail__)) return pf_leave((struct file *)&file->inside);
}

static int
pf_file_ioctl(struct file *fp, u_long cmd, void *data)
{
	const struct pf_file *const file = fp->f_data;
	struct lwp *const l = curlwp;
	/* The kernel's word on the caller: secmodel_securelevel(9) says no from level 2 on. */
	const bool allowed = kauth_authorize_network(l->l_cred, KAUTH_NETWORK_FIREWALL, KAUTH_REQ_NETWORK_FIREWALL_FW,
	    NULL, NULL, NULL) == 0;
	const bool writable = (fp->f_flag & FWRITE) != 0;
	/* An ioctl without an argument hands a pointer to its int over: pf has no use for it. */
	const size_t len = (cmd & IOC_INOUT) != 0 ? IOCPARM_LEN(cmd) : 0;

	/* The kernel has set the flag; there is nothing that would wait, or tell anybody. */
	if (cmd == FIONBIO || cmd == FIOASYNC)
		return 0;
#ifdef PF_FAULT_INJECTION
	if (cmd == DIOCXFAIL) {
		const uint64_t what = *(uint64_t *)data;

		if (!allowed || !writable)
			return EPERM;
		pfr_fail_allocations((uint32_t)(what >> 32), (uint32_t)what);
		return 0;
	}
#endif
	return pfr_ioctl(cmd, data, len, writable, allowed, kauth_cred_getuid(l->l_cred), l->l_proc->p_pid, file->owner);
}

/* As MAKEDEV(8) makes the node. */
static int
pf_file_stat(struct file *fp, struct stat *st)
{
	const struct pf_file *const file = fp->f_data;

	memset(st, 0, sizeof(*st));
	st->st_mode = S_IFCHR | S_IRUSR | S_IWUSR;
	st->st_nlink = 1;
	st->st_rdev = file->dev;
	return 0;
}

/* Always ready, as a device is that has nothing to wait for. */
static int
pf_file_poll(struct file *fp, int events)
{
	const struct pf_file *const file = fp->f_data;

	return seltrue(file->dev, events, curlwp);
}

static int
pf_file_kqfilter(struct file *fp, struct knote *kn)
{
	const struct pf_file *const file = fp->f_data;

	return seltrue_kqfilter(file->dev, kn);
}

static const struct fileops pf_fileops = {
	.fo_name = "pf",
	.fo_read = fbadop_read,
	.fo_write = fbadop_write,
	.fo_ioctl = pf_file_ioctl,
	.fo_fcntl = fnullop_fcntl,
	.fo_poll = pf_file_poll,
	.fo_stat = pf_file_stat,
	.fo_close = pf_file_close,
	.fo_kqfilter = pf_file_kqfilter,
	.fo_restart = fnullop_restart,
};

/* Makes a file, which the kernel moves to where the caller of open(2) expects it. */
static int
pf_open(dev_t dev, int flags, int mode __unused, struct lwp *l __unused)
{
	struct pf_file *file;
	struct file *fp;
	uint64_t owner;
	int fd, error;

	if (minor(dev) != 0)
		return ENXIO;
	mutex_enter(&pf_device.lock);
	if (pf_device.leaving) {
		mutex_exit(&pf_device.lock);
		return ENXIO;
	}
	pf_device.open++;
	owner = ++pf_device.last_owner;
	mutex_exit(&pf_device.lock);

	file = kmem_intr_alloc(sizeof(*file), KM_NOSLEEP);
	if (file == NULL) {
		error = ENOMEM;
		goto fail;
	}
	file->owner = owner;
	file->dev = dev;
	file->inside = 1;
	error = fd_allocfile(&fp, &fd);
	if (error)
		goto free;
	return fd_clone(fp, fd, flags, &pf_fileops, file);

free:
	kmem_intr_free(file, sizeof(*file));
fail:
	mutex_enter(&pf_device.lock);
	pf_device.open--;
	mutex_exit(&pf_device.lock);
	return error;
}

/* Nothing but the open is ever asked of the node itself. */
static const struct cdevsw pf_cdevsw = {
	.d_open = pf_open,
	.d_close = noclose,
	.d_read = noread,
	.d_write = nowrite,
	.d_ioctl = noioctl,
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

/* Opens the door. */
int
pf_device_attach(void)
{
	devmajor_t bmajor = NODEVMAJOR, cmajor = NODEVMAJOR;
	int error;

	mutex_init(&pf_device.lock, MUTEX_DEFAULT, IPL_NONE);
	LIST_INIT(&pf_device.closing);
	pf_device.listener = kauth_listen_scope(KAUTH_SCOPE_NETWORK, pf_listen, NULL);
	error = devsw_attach("pf", NULL, &bmajor, &pf_cdevsw, &cmajor);
	if (error) {
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
	pf_forget_closed();
	busy = pf_device.open != 0 || !LIST_EMPTY(&pf_device.closing) || pfr_is_running();
	pf_device.leaving = !busy;
	mutex_exit(&pf_device.lock);
	if (busy)
		return EBUSY;

	devsw_detach(NULL, &pf_cdevsw);
	kauth_unlisten_scope(pf_device.listener);
	mutex_destroy(&pf_device.lock);
	return 0;
}
