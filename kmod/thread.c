/*
 * The purge thread: kthread(9), one tick a second, and a scan of the interfaces with each, or where one was asked for.
 *
 * Life cycle: pf_thread_stop() wakes it, and returns when it has gone.
 *
 * Synchronisation: pf_thread.lock covers what is asked of the thread. It is not held while the thread works. It is a spin
 * mutex, since packets take it to wake the thread.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/condvar.h>
#include <sys/kernel.h>
#include <sys/kthread.h>
#include <sys/lwp.h>
#include <sys/mutex.h>

#include "pf.h"

static struct {
	kmutex_t	lock;
	kcondvar_t	wanted;
	bool		scan;
	bool		behind;
	bool		stop;
	lwp_t		*lwp;
} pf_thread;

static void
pf_thread_run(void *arg __unused)
{
	u_int due = (u_int)getticks() + hz;
	int left;

	mutex_enter(&pf_thread.lock);
	while (!pf_thread.stop) {
		/* The tick comes first: packets can ask for the rest as often as they like. */
		left = (int)(due - (u_int)getticks());
		if (left <= 0) {
			/* Addresses may come and go without an event; and the scan before may not have told of everything. */
			pf_thread.scan = true;
			mutex_exit(&pf_thread.lock);
			pfr_purge();
			due = (u_int)getticks() + hz;
			mutex_enter(&pf_thread.lock);
			continue;
		}
		if (pf_thread.scan) {
			pf_thread.scan = false;
			mutex_exit(&pf_thread.lock);
			(void)pf_interfaces_scan();
			mutex_enter(&pf_thread.lock);
			continue;
		}
		if (pf_thread.behind) {
			pf_thread.behind = false;
			mutex_exit(&pf_thread.lock);
			pfr_catch_up();
			mutex_enter(&pf_thread.lock);
			continue;
		}
		(void)cv_timedwait(&pf_thread.wanted, &pf_thread.lock, left);
	}
	mutex_exit(&pf_thread.lock);
	kthread_exit(0);
}

int
pf_thread_start(void)
{
	int error;

	mutex_init(&pf_thread.lock, MUTEX_DEFAULT, IPL_VM);
	cv_init(&pf_thread.wanted, "pfpurge");
	error = kthread_create(PRI_NONE, KTHREAD_MPSAFE | KTHREAD_MUSTJOIN, NULL, pf_thread_run, NULL, &pf_thread.lwp,
	    "pfpurge");
	if (error) {
		cv_destroy(&pf_thread.wanted);
		mutex_destroy(&pf_thread.lock);
	}
	return error;
}

void
pf_thread_stop(void)
{

	mutex_enter(&pf_thread.lock);
	pf_thread.stop = true;
	cv_signal(&pf_thread.wanted);
	mutex_exit(&pf_thread.lock);
	(void)kthread_join(pf_thread.lwp);
	cv_destroy(&pf_thread.wanted);
	mutex_destroy(&pf_thread.lock);
}

/* Has the thread do what packets have left to it, soon. */
void
pfk_thread_wake(void)
{

	mutex_enter(&pf_thread.lock);
	pf_thread.behind = true;
	cv_signal(&pf_thread.wanted);
	mutex_exit(&pf_thread.lock);
}

/* Asks for a scan of the interfaces, soon. */
void
pfk_thread_scan(void)
{

	mutex_enter(&pf_thread.lock);
	pf_thread.scan = true;
	cv_signal(&pf_thread.wanted);
	mutex_exit(&pf_thread.lock);
}
