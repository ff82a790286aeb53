/*
 * Stand-in for the kernel-only <sys/timevar.h>: bintime(9). The variables behind time_second(9) and time_uptime(9)
 * were renamed between NetBSD 10 and 11; these functions are the same in both.
 */
#ifndef _SYS_TIMEVAR_H_
#define _SYS_TIMEVAR_H_

struct bintime;

void	getbintime(struct bintime *);
void	getbinuptime(struct bintime *);

#endif
