/*
 * Stand-in for the kernel-only <sys/kauth.h>: kauth(9), as far as a packet filter asks.
 */
#ifndef _SYS_KAUTH_H_
#define _SYS_KAUTH_H_

#include <sys/types.h>

typedef struct kauth_cred	*kauth_cred_t;
typedef struct kauth_listener	*kauth_listener_t;
typedef uint64_t		 kauth_action_t;
typedef int			(*kauth_scope_callback_t)(kauth_cred_t, kauth_action_t, void *, void *, void *, void *, void *);

#define KAUTH_RESULT_ALLOW	0
#define KAUTH_RESULT_DENY	1
#define KAUTH_RESULT_DEFER	2

#define KAUTH_SCOPE_NETWORK	"org.netbsd.kauth.network"

enum {
	KAUTH_NETWORK_FIREWALL = 3,
};

enum kauth_network_req {
	KAUTH_REQ_NETWORK_FIREWALL_FW = 15,
	KAUTH_REQ_NETWORK_FIREWALL_NAT = 16,
};

kauth_listener_t	kauth_listen_scope(const char *, kauth_scope_callback_t, void *);
void			kauth_unlisten_scope(kauth_listener_t);
int			kauth_authorize_network(kauth_cred_t, kauth_action_t, enum kauth_network_req, void *, void *, void *);
uid_t			kauth_cred_getuid(kauth_cred_t);
uid_t			kauth_cred_geteuid(kauth_cred_t);
gid_t			kauth_cred_getegid(kauth_cred_t);

#endif
