/*
 * What this module takes for granted of NetBSD's kernel, as assertions and as declarations made once more: a compiler that sees
 * this beside the kernel's own headers refuses whatever does not agree. scripts/check-sys-headers compiles it with the stand-ins
 * of this folder and with the headers of a source tree; what holds in both is the same in both.
 *
 * The differences between NetBSD 10.1, 11.0 and what comes after are those, and only those, that are marked so below.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/condvar.h>
#include <sys/conf.h>
#include <sys/cprng.h>
#include <sys/cpu.h>
#include <sys/file.h>
#include <sys/filedesc.h>
#include <sys/intr.h>
#include <sys/kauth.h>
#include <sys/kernel.h>
#include <sys/kmem.h>
#include <sys/kthread.h>
#include <sys/mbuf.h>
#include <sys/module.h>
#include <sys/mutex.h>
#include <sys/percpu.h>
#include <sys/pool.h>
#include <sys/pserialize.h>
#include <sys/pslist.h>
#include <sys/socketvar.h>
#include <sys/time.h>
#include <sys/timevar.h>
#include <sys/workqueue.h>
#include <sys/xcall.h>

#include <net/if.h>
#include <net/pfil.h>
#include <netinet/in.h>
#include <netinet/in_offload.h>
#include <netinet/in_systm.h>
#include <netinet/ip.h>
#include <netinet/ip_var.h>
#include <netinet/ip6.h>
#include <netinet6/in6_offload.h>
#include <netinet6/ip6_var.h>

#define IS(what, value)		_Static_assert((unsigned long)(what) == (value), #what " is " #value)
#define SIZE(type, size)	_Static_assert(sizeof(type) == (size), "a " #type " has " #size " bytes")
#define AT(type, member, at)	_Static_assert(__builtin_offsetof(type, member) == (at), #type "." #member " is at " #at)

/* --- what the folder declares, once more --------------------------------------------------------------------------- */

/* lib/libkern/libkern.h */
void	*memcpy(void *, const void *, size_t);
void	*memset(void *, int, size_t);

/* sys/systm.h */
int	copyin(const void *, void *, size_t);
int	copyout(const void *, void *, size_t);
void	panic(const char *, ...);
int	seltrue(dev_t, int, struct lwp *);
int	seltrue_kqfilter(dev_t, struct knote *);
void	_kernel_lock(int);
void	_kernel_unlock(int, int *);

/* sys/cprng.h */
size_t	cprng_fast(void *, size_t);

/* sys/cpu.h, machine/cpu.h */
struct cpu_info	*cpu_lookup(u_int);
struct cpu_info	*x86_curcpu(void);

/* sys/kernel.h */
extern int	hz;
int	getticks(void);

/* sys/kthread.h */
IS(KTHREAD_MPSAFE, 0x02);
IS(KTHREAD_MUSTJOIN, 0x10);
int	kthread_create(pri_t, int, struct cpu_info *, void (*)(void *), void *, lwp_t **, const char *, ...);
void	kthread_exit(int);
int	kthread_join(lwp_t *);

/* sys/kauth.h */
IS(KAUTH_RESULT_ALLOW, 0);
IS(KAUTH_RESULT_DENY, 1);
IS(KAUTH_RESULT_DEFER, 2);
IS(KAUTH_NETWORK_FIREWALL, 3);
IS(KAUTH_REQ_NETWORK_FIREWALL_FW, 15);
IS(KAUTH_REQ_NETWORK_FIREWALL_NAT, 16);
_Static_assert(__builtin_strcmp(KAUTH_SCOPE_NETWORK, "org.netbsd.kauth.network") == 0, "the scope's name");
_Static_assert(__builtin_types_compatible_p(kauth_action_t, uint64_t), "an action is a uint64_t");
kauth_listener_t	kauth_listen_scope(const char *, kauth_scope_callback_t, void *);
void	kauth_unlisten_scope(kauth_listener_t);
int	kauth_authorize_network(kauth_cred_t, kauth_action_t, enum kauth_network_req, void *, void *, void *);
uid_t	kauth_cred_getuid(kauth_cred_t);

/* sys/pserialize.h */
pserialize_t	pserialize_create(void);
void	pserialize_destroy(pserialize_t);
void	pserialize_perform(pserialize_t);
int	pserialize_read_enter(void);
void	pserialize_read_exit(int);

/* sys/pslist.h, sys/workqueue.h: embedded in struct ifnet */
SIZE(struct pslist_entry, 16);
AT(struct pslist_entry, ple_next, 8);
SIZE(struct pslist_head, 8);
SIZE(struct work, 8);

/* sys/percpu.h */
void	*percpu_getref(percpu_t *);
void	percpu_putref(percpu_t *);

/* sys/timevar.h, sys/xcall.h */
void	getbintime(struct bintime *);
void	getbinuptime(struct bintime *);
void	xc_barrier(unsigned int);

/* netinet6/in6_offload.h */
int	ip6_tso_output(struct ifnet *, struct ifnet *, struct mbuf *, const struct sockaddr_in6 *, struct rtentry *);
void	in6_undefer_cksum_tcpudp(struct mbuf *);

/* --- what NetBSD installs, and the module is built on -------------------------------------------------------------- */

/* sys/mbuf.h */
SIZE(struct mbuf, 512);
AT(struct mbuf, m_next, 0);
AT(struct mbuf, m_data, 16);
AT(struct mbuf, m_len, 32);
AT(struct mbuf, m_flags, 36);
IS(MCLBYTES, 2048);
IS(M_EXT, 0x00000001);
IS(M_PKTHDR, 0x00000002);
IS(PACKET_TAG_PF, 11);
SIZE(struct m_tag, 16);
AT(struct m_tag, m_tag_len, 10);
struct mbuf	*m_gethdr(int, int);
bool	m_ensure_contig(struct mbuf **, int);
struct m_tag	*m_tag_get(int, int, int);
struct m_tag	*m_tag_find(const struct mbuf *, int);
void	m_tag_prepend(struct mbuf *, struct m_tag *);

/* sys/mutex.h, sys/pool.h, sys/kmem.h */
SIZE(kmutex_t, 8);
void	*kmem_intr_alloc(size_t, km_flag_t);
void	kmem_intr_free(void *, size_t);
void	*pool_cache_get_paddr(pool_cache_t, int, paddr_t *);
void	pool_cache_put_paddr(pool_cache_t, void *, paddr_t);
_Static_assert(KM_NOSLEEP == 0x00000002 && PR_NOWAIT == 0x02, "not to sleep");

/* machine/intrdefs.h */
IS(IPL_NONE, 0);
_Static_assert(IPL_SOFTNET < IPL_VM, "packets are below devices");

/* sys/conf.h: the order of the driver's entries is the compiler's business; that they are all there is ours. */
AT(struct cdevsw, d_open, 0);
int	devsw_attach(const char *, const struct bdevsw *, devmajor_t *, const struct cdevsw *, devmajor_t *);
/* It was an int before; it is void since 9.99. Nothing is made of it. */
void	devsw_detach(const struct bdevsw *, const struct cdevsw *);

/* sys/file.h, sys/filedesc.h: a file of our own. Its operations may have more members than are asked for here. */
AT(struct fileops, fo_name, 0);
AT(struct fileops, fo_read, 8);
AT(struct fileops, fo_ioctl, 24);
AT(struct fileops, fo_close, 56);
AT(struct fileops, fo_restart, 72);
int	fd_allocfile(struct file **, int *);
int	fd_clone(struct file *, unsigned, int, const struct fileops *, void *);
int	fnullop_fcntl(struct file *, u_int, void *);
void	fnullop_restart(struct file *);
int	fbadop_read(struct file *, off_t *, struct uio *, kauth_cred_t, int);
int	fbadop_write(struct file *, off_t *, struct uio *, kauth_cred_t, int);

/* sys/atomic.h: kmod/device.c calls it by another type, of the same registers. */
unsigned int	atomic_dec_uint_nv(volatile unsigned int *);

/* sys/module.h */
AT(struct modinfo, mi_version, 0);
AT(struct modinfo, mi_class, 4);
AT(struct modinfo, mi_modcmd, 8);
AT(struct modinfo, mi_name, 16);
AT(struct modinfo, mi_required, 24);

/* net/pfil.h, net/if.h */
IS(PFIL_IN, 0x00000001);
IS(PFIL_OUT, 0x00000002);
_Static_assert(sizeof(((struct ifnet *)0)->if_xname) == 16, "an interface's name has 16 bytes");
_Static_assert(sizeof(((struct ifnet *)0)->if_index) == sizeof(uint16_t), "an interface's number has 16 bits");
int	pfil_add_hook(pfil_func_t, void *, int, pfil_head_t *);
int	pfil_add_ihook(pfil_ifunc_t, void *, int, pfil_head_t *);

/* netinet/ip_var.h, netinet6/ip6_var.h */
IS(IP_RAWOUTPUT, 0x2);
IS(IPV6_FORWARDING, 0x02);

/* --- what differs ------------------------------------------------------------------------------------------------------
 *
 * The variables behind time_second(9) and time_uptime(9) were renamed between 10 and 11: the module calls getbintime(9) and
 * getbinuptime(9), which are the same. <sys/time.h> of 11 includes <sys/timearith.h>. Where members of struct ifnet lie differs
 * from release to release: the module is compiled for each, and no offset of it is assumed here. struct fileops has grown at its end
 * since 10.1, by what a file need not have: what kmod/device.c does not name is NULL.
 */
#if __NetBSD_Version__ < 1000000000
#error "pf wants NetBSD 10 or later"
#endif
