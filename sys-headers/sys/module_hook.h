/*
 * Stand-in for the kernel-only <sys/module_hook.h>: <net/if.h> declares one hook with it, which is not used.
 */
#ifndef _SYS_MODULE_HOOK_H_
#define _SYS_MODULE_HOOK_H_

#define MODULE_HOOK(hook, type, args)	extern struct hook ## _t hook

#endif
