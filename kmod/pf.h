/*
 * What passes between the module's two halves.
 *
 * The C half is what must be C: MODULE(9), the character device, the pfil(9) hooks, the kernel thread, and the
 * macros and inline functions of NetBSD's headers. The Rust half is all the rest. Functions that are named pfk_...
 * are C and are called from Rust; those named pfr_... are Rust (src/module.rs) and are called from C.
 */
#ifndef KMOD_PF_H
#define KMOD_PF_H

#include <sys/types.h>

struct ifnet;
struct lwp;
struct mbuf;

/* module.c: the module from beginning to end. module.ld names pf_load. */
int	pf_load(void);
int	pf_unload(void);

/* device.c: /dev/pf. */
int	pf_device_attach(void);
int	pf_device_detach(void);

/* interface.c: the interfaces that come and go. */
int	pf_interfaces_attach(void);
void	pf_interfaces_detach(void);
bool	pf_interfaces_scan(void);

/* One address of an interface; an IPv4 address is in the first four bytes. */
struct pf_address {
	bool	is_ipv6;
	bool	has_broadcast;		/* `other' is the broadcast address */
	bool	has_peer;		/* `other' is the other end of the link */
	uint8_t	address[16];
	uint8_t	mask[16];
	uint8_t	other[16];
};
size_t	pfk_interface_addresses(struct ifnet *, struct pf_address *, size_t);

/* lookup.c: sockets and routes. Addresses as above, ports in host order. */
struct pf_socket_ends {
	bool	is_ipv6;
	bool	is_tcp;
	uint16_t local_port;
	uint16_t remote_port;
	uint8_t	local[16];
	uint8_t	remote[16];
};
bool	pfk_socket_owner(const struct pf_socket_ends *, uint32_t *, uint32_t *);
int	pfk_route(bool, const uint8_t[16]);

/* thread.c: the purge thread. */
int	pf_thread_start(void);
void	pf_thread_stop(void);
void	pfk_thread_scan(void);
void	pfk_thread_wake(void);

/* hook.c: packets. */
int	pfk_hooks_attach(void);
void	pfk_hooks_detach(void);
void	pfk_drain(void);

/* cpu.c: which CPU is which. */
bool	pfk_cpu(u_int, uintptr_t *);

/* output.c: packets of pf's own, those that it sends another way, and what else is a macro. */
void	pfk_output(struct mbuf *, bool);
void	pfk_input(struct mbuf *);
uint16_t pfk_mtu(uint16_t);
void	pfk_divert(struct mbuf *, uint16_t, const void *, bool);
void	pfk_report(struct mbuf *, uint16_t, bool);
bool	pfk_mbuf_is_readonly(const struct mbuf *);

/* pflog.c: logged packets. */
void	pf_pflog_attach(void);
void	pf_pflog_detach(void);
bool	pfk_log_has_reader(uint8_t);
void	pfk_log_packet(uint8_t, const void *, struct mbuf *);

/* src/module.rs. */
int	pfr_load(void);
void	pfr_unload(void);
bool	pfr_is_running(void);
int	pfr_hook(struct mbuf **, uint16_t, int, bool);
int	pfr_ioctl(u_long, void *, size_t, bool, bool, uid_t, pid_t, uint64_t);
void	pfr_close(uint64_t);
void	pfr_purge(void);
void	pfr_catch_up(void);
int	pfr_attach_interface(struct ifnet *, uint16_t, const char *);
void	pfr_detach_interface(uint16_t);
#ifdef PF_FAULT_INJECTION
void	pfr_fail_allocations(uint32_t, uint32_t);
#endif

#endif
