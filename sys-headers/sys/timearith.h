/*
 * Stand-in for the kernel-only <sys/timearith.h>, which <sys/time.h> of NetBSD 11 includes. Nothing of it is used.
 */
