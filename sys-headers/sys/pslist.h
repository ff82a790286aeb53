/*
 * Stand-in for the kernel-only <sys/pslist.h>: pslist(9), as <net/if.h> embeds it, and as a writer and a reader walk it.
 */
#ifndef _SYS_PSLIST_H_
#define _SYS_PSLIST_H_

struct pslist_entry {
	struct pslist_entry	**ple_prevp;
	struct pslist_entry	*ple_next;
};

struct pslist_head {
	struct pslist_entry	*plh_first;
};

#define PSLIST_CONTAINER(entry, type, field) \
	((entry) == NULL ? NULL : (type *)(void *)((char *)(entry) - __builtin_offsetof(type, field)))

#define PSLIST_WRITER_FIRST(head, type, field) \
	PSLIST_CONTAINER((head)->plh_first, type, field)

#define PSLIST_WRITER_NEXT(element, type, field) \
	PSLIST_CONTAINER((element)->field.ple_next, type, field)

#define PSLIST_WRITER_FOREACH(element, head, type, field) \
	for ((element) = PSLIST_WRITER_FIRST(head, type, field); (element) != NULL; \
	    (element) = PSLIST_WRITER_NEXT(element, type, field))

/* On amd64 a load that follows a pointer comes after the load of the pointer. */
#define PSLIST_READER_FIRST(head, type, field) \
	PSLIST_CONTAINER(*(struct pslist_entry * volatile *)&(head)->plh_first, type, field)

#define PSLIST_READER_NEXT(element, type, field) \
	PSLIST_CONTAINER(*(struct pslist_entry * volatile *)&(element)->field.ple_next, type, field)

#define PSLIST_READER_FOREACH(element, head, type, field) \
	for ((element) = PSLIST_READER_FIRST(head, type, field); (element) != NULL; \
	    (element) = PSLIST_READER_NEXT(element, type, field))

#endif
