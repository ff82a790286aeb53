/*
 * Stand-in for the kernel-only <sys/uidinfo.h>, which <sys/socketvar.h> includes. Nothing of it is used.
 */
