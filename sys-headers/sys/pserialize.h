/*
 * Stand-in for the kernel-only <sys/pserialize.h>: pserialize(9).
 */
#ifndef _SYS_PSERIALIZE_H_
#define _SYS_PSERIALIZE_H_

typedef struct pserialize	*pserialize_t;

pserialize_t	pserialize_create(void);
void		pserialize_destroy(pserialize_t);
void		pserialize_perform(pserialize_t);
int		pserialize_read_enter(void);
void		pserialize_read_exit(int);

#endif
