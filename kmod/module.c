/*
 * The module: what modload(8) and modunload(8) start.
 *
 * Life cycle: what is taken at load is given back at unload in the opposite order. The device comes last, because
 * it is the door: until it is there nobody asks anything of pf, and once it is gone nobody does any more. The
 * unload is refused with EBUSY while pf is enabled or /dev/pf is open, and the module never leaves by itself
 * (MODULE_CMD_AUTOUNLOAD): a firewall that is not in use at the moment is still a firewall.
 *
 * Synchronisation: module(9) makes one call at a time.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/errno.h>
#include <sys/module.h>

#include "pf.h"

/* pflog(4) shows packets through bpf. */
MODULE(MODULE_CLASS_DRIVER, pf, "bpf");

int
pf_load(void)
{
	int error;

	error = pfr_load();
	if (error)
		return error;
	error = pf_thread_start();
	if (error)
		goto unload;
	error = pf_interfaces_attach();
	if (error)
		goto stop;
	pf_pflog_attach();
	error = pf_device_attach();
	if (error)
		goto detach;
	return 0;

detach:
	pf_pflog_detach();
	pf_interfaces_detach();
stop:
	pf_thread_stop();
unload:
	pfr_unload();
	return error;
}

int
pf_unload(void)
{
	int error;

	error = pf_device_detach();
	if (error)
		return error;
	/* An interface that goes is an event. */
	pf_pflog_detach();
	pf_interfaces_detach();
	pf_thread_stop();
	pfk_drain();
	pfr_unload();
	return 0;
}

static int
pf_modcmd(modcmd_t cmd, void *properties __unused)
{

	switch (cmd) {
	case MODULE_CMD_INIT:
		return pf_load();
	case MODULE_CMD_FINI:
		return pf_unload();
	case MODULE_CMD_AUTOUNLOAD:
		return EBUSY;
	default:
		return ENOTTY;
	}
}
