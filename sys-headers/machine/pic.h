/*
 * Stand-in for the kernel-only <machine/pic.h>, which <machine/intr.h> includes: the lengths of two names that it
 * has in a struct. The struct is not used.
 */
#ifndef _X86_PIC_H_
#define _X86_PIC_H_

#define INTRIDBUF	64
#define INTRDEVNAMEBUF	256

#endif
