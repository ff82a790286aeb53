/*
 * What bindgen reads: the headers that have what src/kpi/netbsd uses of the kernel, and what the two halves of the
 * module offer each other.
 */

/*
 * bindgen follows the width of a bit-field without end where it names a struct that points to itself. clang has seen
 * these assertions.
 */
#include <sys/cdefs.h>
#undef __CTASSERT
#define __CTASSERT(x)

#include <sys/param.h>
#include <sys/systm.h>
#include <sys/cprng.h>
#include <sys/intr.h>
#include <sys/kmem.h>
#include <sys/malloc.h>
#include <sys/mbuf.h>
#include <sys/mutex.h>
#include <sys/pool.h>
#include <sys/pserialize.h>
#include <sys/syslog.h>
#include <sys/time.h>
#include <sys/timevar.h>

#include <net/pfil.h>
#include <netinet/in_offload.h>
#include <netinet6/in6_offload.h>

#include "pf.h"

/* What is an expression there that bindgen cannot evaluate. */
enum {
	PF_MHLEN = MHLEN,
};
