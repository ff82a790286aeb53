/*
 * Stand-in for the kernel-only <sys/systm.h>: copy(9), panic(9), the kernel lock, and what the installed headers
 * expect to find.
 */
#ifndef _SYS_SYSTM_H_
#define _SYS_SYSTM_H_

#include <sys/types.h>

/* Ahead of the other headers, which need them. */
typedef int	(*copyin_t)(const void *, void *, size_t);
typedef int	(*copyout_t)(const void *, void *, size_t);

#include <lib/libkern/libkern.h>

struct knote;
struct lwp;

int	copyin(const void *, void *, size_t);
int	copyout(const void *, void *, size_t);

void	panic(const char *, ...) __dead __printflike(1, 2);
void	printf(const char *, ...) __printflike(1, 2);

int	seltrue(dev_t, int, struct lwp *);
int	seltrue_kqfilter(dev_t, struct knote *);

void	_kernel_lock(int);
void	_kernel_unlock(int, int *);

#define KERNEL_LOCK(count, lwp)		_kernel_lock(count)
#define KERNEL_UNLOCK_ONE(lwp)		_kernel_unlock(1, NULL)

#endif
