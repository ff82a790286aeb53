/*
 * What no pf tool does: ioctls of /dev/pf as a hostile or a curious caller would make them. A static program without a
 * C library, so that it runs on any NetBSD.
 *
 *	pfprobe locked		exit status 0 if the state table is locked
 *	pfprobe reader		tries to change things through a descriptor that is open for reading; says what was let through
 *	pfprobe hostile		arguments that make no sense; the kernel has to live, and to refuse
 *	pfprobe open		opens the device for reading, and for writing: the errors, 0 0 for none
 *	pfprobe pools		the kernel's pools: name, bytes of an object, objects out
 *	pfprobe hold SECONDS	keeps the device open
 *	pfprobe lock SECONDS	locks the state table with an owner and a deadline, and ends after so long without a word
 *	pfprobe file		what a descriptor of the device is, beside its ioctls; says what is wrong
 *	pfprobe closes SECONDS	locks the state table, closes the device, and stays for so long: whether it is locked before and after
 *	pfprobe dups		the same for a descriptor, and then for one that was dup'ed from it
 *	pfprobe inherits	locks and begins to load filter rules, none, in a process that ends; its child commits and unlocks
 *	pfprobe full		opens the device with one descriptor left, and with two: the errors, and how many are left then
 *	pfprobe pflog IF COUNT	reads so many packets from a pflog interface: action, reason, rule, interface, direction of each
 *	pfprobe readers IF COUNT	somebody begins to read an interface, and is gone again, so many times
 *	pfprobe addresses IF	an address of an interface comes and goes, without end
 *	pfprobe send PORT COUNT	sends COUNT times 64 KiB to the first who connects: a number of four bytes, and then each byte one more
 *	pfprobe fail SKIP COUNT	in a module built with --fault-injection: after SKIP allocations, COUNT fail
 *
 * Exit status 1 if something is not as it should be, 2 for a mistake in the call.
 */
#include <sys/types.h>
#include <sys/filio.h>
#include <sys/ioccom.h>
#include <sys/poll.h>
#include <sys/pool.h>
#include <sys/socket.h>
#include <sys/sockio.h>
#include <sys/stat.h>
#include <sys/sysctl.h>
#include <sys/time.h>
#include <net/bpf.h>
#include <net/if.h>
#include <netinet/in.h>
#include <net/pfvar.h>
#include <net/if_pflog.h>

#define DIOCGETLCK	_IOR('D', 200, uint32_t)
/* Not in NetBSD's own: pf(4). */
struct pfioc_bulk_lock {
	uint32_t	version, size, action, seconds, locked;
	int32_t		pid;
};
#define DIOCBLOCK	_IOWR('D', 203, struct pfioc_bulk_lock)
#define DIOCXFAIL	_IOW('D', 201, uint64_t)
#ifndef DIOCSETLCK
#define DIOCSETLCK	_IOWR('D', 8, uint32_t)
#endif
#ifndef DIOCADDSTATES
#define DIOCADDSTATES	_IOWR('D', 56, struct pfioc_states)
#endif

/* NetBSD's loader runs what carries its note. */
__asm__(
	".section .note.netbsd.ident, \"a\", @note\n"
	".long 7, 4, 1\n"
	".asciz \"NetBSD\"\n"
	".byte 0\n"
	".long 1000000000\n"
	".text\n"
	".globl start\n"
	"start:\n"
	"	movq %rsp, %rdi\n"
	"	andq $-16, %rsp\n"
	"	call run\n"
	"	movl %eax, %edi\n"
	"	movl $1, %eax\n"
	"	syscall\n");

enum {
	SYS_EXIT = 1, SYS_FORK = 2, SYS_READ = 3, SYS_WRITE = 4, SYS_OPEN = 5, SYS_CLOSE = 6, SYS_ACCEPT = 30, SYS_DUP = 41, SYS_IOCTL = 54,
	SYS_BIND = 104, SYS_LISTEN = 106, SYS_SYSCTL = 202, SYS_POLL = 209, SYS_SOCKET = 394, SYS_NANOSLEEP = 430, SYS_STAT = 439,
	SYS_FSTAT = 440, SYS_WAIT4 = 449, SYS_PIPE2 = 453,
};

/* The answer, or the error number below zero. */
static long
call6(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	unsigned char failed;
	long answer;

	__asm__ volatile("syscall\n\tsetc %1" : "=a"(answer), "=qm"(failed), "+d"(c), "+r"(r10), "+r"(r8), "+r"(r9)
	    : "a"(number), "D"(a), "S"(b) : "rcx", "r11", "memory", "cc");
	return failed ? -answer : answer;
}

static long
call(long number, long a, long b, long c)
{

	return call6(number, a, b, c, 0, 0, 0);
}

/* The child's number, and 0 in the child, of which the kernel tells in the second register of the answer. */
static long
fork_process(void)
{
	long answer, is_child = 0;
	unsigned char failed;

	__asm__ volatile("syscall\n\tsetc %1" : "=a"(answer), "=qm"(failed), "+d"(is_child) : "a"((long)SYS_FORK)
	    : "rcx", "r11", "memory", "cc");
	return failed ? -answer : is_child ? 0 : answer;
}

/* The compiler may make calls of these. */
void *
memset(void *to, int byte, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((volatile unsigned char *)to)[i] = (unsigned char)byte;
	return to;
}

void *
memcpy(void *to, const void *from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((volatile unsigned char *)to)[i] = ((const unsigned char *)from)[i];
	return to;
}

static size_t
length(const char *text)
{
	size_t len = 0;

	while (text[len] != '\0')
		len++;
	return len;
}

static bool
same(const char *a, const char *b)
{
	while (*a == *b && *a != '\0')
		a++, b++;
	return *a == *b;
}

static void
say(const char *text)
{
	(void)call(SYS_WRITE, 1, (long)text, (long)length(text));
}

static void
say_number(long number)
{
	char text[24];
	size_t at = sizeof(text);
	unsigned long rest = number < 0 ? -(unsigned long)number : (unsigned long)number;

	text[--at] = '\0';
	do {
		text[--at] = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest != 0);
	if (number < 0)
		text[--at] = '-';
	say(text + at);
}

static unsigned long
number_of(const char *text)
{
	unsigned long number = 0;

	while (*text >= '0' && *text <= '9')
		number = number * 10 + (unsigned long)(*text++ - '0');
	return number;
}

static long
open_device(int flags)
{
	return call(SYS_OPEN, (long)"/dev/pf", flags, 0);
}

static long
request(long device, unsigned long cmd, void *arg)
{
	return call(SYS_IOCTL, device, (long)cmd, (long)arg);
}

/* Large enough for any argument, and for what an ioctl of old would write past its end. */
static union {
	unsigned char bytes[8192];
	uint32_t word;
	struct pfioc_rule rule;
	struct pfioc_state state;
	struct pfioc_states states;
	struct pfioc_state_kill kill;
	struct pfioc_tm timeout;
	struct pfioc_limit limit;
	struct pfioc_trans trans;
	struct pfioc_if interface;
	struct pfioc_table table;
} arg;

static int
locked(void)
{
	const long device = open_device(0);

	arg.word = 77;
	if (device < 0 || request(device, DIOCGETLCK, &arg) != 0)
		return 2;
	return arg.word == 0;
}

#define CHANGE(cmd)	{ cmd, #cmd }
static const struct {
	unsigned long cmd;
	const char *name;
} changes[] = {
	CHANGE(DIOCSTART), CHANGE(DIOCSTOP), CHANGE(DIOCADDRULE), CHANGE(DIOCSETLCK), CHANGE(DIOCCLRSTATES),
	CHANGE(DIOCSETSTATUSIF), CHANGE(DIOCCLRSTATUS), CHANGE(DIOCSETDEBUG), CHANGE(DIOCCHANGERULE), CHANGE(DIOCSETTIMEOUT),
	CHANGE(DIOCADDSTATE), CHANGE(DIOCCLRRULECTRS), CHANGE(DIOCSETLIMIT), CHANGE(DIOCKILLSTATES), CHANGE(DIOCADDADDR),
	CHANGE(DIOCBEGINADDRS), CHANGE(DIOCCHANGEADDR), CHANGE(DIOCADDSTATES), CHANGE(DIOCXBEGIN), CHANGE(DIOCXCOMMIT),
	CHANGE(DIOCXROLLBACK), CHANGE(DIOCSETHOSTID), CHANGE(DIOCSETIFFLAG), CHANGE(DIOCCLRIFFLAG), CHANGE(DIOCOSFPFLUSH),
	CHANGE(DIOCRCLRTABLES), CHANGE(DIOCRADDADDRS), CHANGE(DIOCCLRSRCNODES),
};

/* A reader can change nothing. Each error is EACCES (13), or says that there is no such thing. */
static int
reader(void)
{
	const long device = open_device(0);
	int status = 0;

	if (device < 0)
		return 2;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		memset(&arg, 0, sizeof(arg));
		const long answer = request(device, changes[i].cmd, &arg);
		if (answer >= 0) {
			say(changes[i].name);
			say(" is open to a reader\n");
			status = 1;
		} else if (answer != -13) {
			say(changes[i].name);
			say(": ");
			say_number(-answer);
			say("\n");
		}
	}
	return status;
}

/* What NetBSD's own pf panics from, or takes as it comes. */
static int
hostile(void)
{
	const long device = open_device(2);
	int status = 0;

	if (device < 0)
		return 2;
	/* DIOCGETSTATE of a state that is not there, and nothing written behind the argument. */
	memset(&arg, 0xa5, sizeof(arg));
	(void)request(device, DIOCGETSTATE, &arg);
	for (size_t i = IOCPARM_LEN(DIOCGETSTATE); i < sizeof(arg); i++)
		if (arg.bytes[i] != 0xa5) {
			say("DIOCGETSTATE writes past its argument\n");
			status = 1;
			break;
		}
	/* Pointers into nowhere, into the kernel, and beyond the end. */
	static const unsigned long nowhere[] = { 0, 1, 0xffffffff80200000UL, 0xffff800000000000UL, 0x8000000000000000UL, -1UL };
	for (size_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
		memset(&arg, 0, sizeof(arg));
		arg.states.ps_len = 240 * 3;
		arg.states.ps_buf = (void *)nowhere[i];
		if (request(device, DIOCADDSTATES, &arg) >= 0) {
			say("DIOCADDSTATES takes states from nowhere\n");
			status = 1;
		}
		memset(&arg, 0, sizeof(arg));
		arg.states.ps_len = 0x7fffffff;
		arg.states.ps_buf = (void *)nowhere[i];
		(void)request(device, DIOCGETSTATES, &arg);
		memset(&arg, 0, sizeof(arg));
		arg.trans.size = 0x7fffffff;
		arg.trans.esize = sizeof(struct pfioc_trans_e);
		arg.trans.array = (void *)nowhere[i];
		if (request(device, DIOCXBEGIN, &arg) >= 0) {
			say("DIOCXBEGIN takes a list from nowhere\n");
			status = 1;
		}
	}
	/* A state of garbage: each byte alike, whatever it is read as. */
	for (int byte = 0; byte < 256; byte += 17) {
		memset(&arg, byte, sizeof(arg));
		if (request(device, DIOCADDSTATE, &arg) >= 0) {
			say("DIOCADDSTATE takes garbage of ");
			say_number(byte);
			say("\n");
			status = 1;
		}
	}
	/* Every number of pf's, known or not, with every byte set: nothing is to be believed. DIOCSTOP and its like do what they do. */
	for (unsigned long number = 0; number < 256; number++) {
		for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
			if ((changes[i].cmd & 0xff) == number) {
				memset(&arg, 0xff, sizeof(arg));
				(void)request(device, changes[i].cmd, &arg);
			}
		memset(&arg, 0xff, sizeof(arg));
		(void)request(device, _IOC(IOC_INOUT, 'D', number, 4000), &arg);
		(void)request(device, _IOC(IOC_INOUT, 'D', number, 1), &arg);
	}
	return status;
}

static int
open_both(void)
{
	const long reading = open_device(0), writing = open_device(2);

	say_number(reading < 0 ? -reading : 0);
	say(" ");
	say_number(writing < 0 ? -writing : 0);
	say("\n");
	return 0;
}

/* sysctl(3) of kern.pool, whose number is not fixed; vmstat(1) shows the same where it is of the kernel's release. */
static int
pools(void)
{
	static struct sysctlnode nodes[256], query;
	static struct pool_sysctl pool[512];
	int name[2] = { CTL_KERN, CTL_QUERY };
	size_t len = sizeof(nodes);

	query.sysctl_flags = SYSCTL_VERSION;
	if (call6(SYS_SYSCTL, (long)name, 2, (long)nodes, (long)&len, (long)&query, sizeof(query)) < 0)
		return 1;
	name[1] = 0;
	for (size_t i = 0; i < len / sizeof(nodes[0]); i++)
		if (same(nodes[i].sysctl_name, "pool"))
			name[1] = nodes[i].sysctl_num;
	len = sizeof(pool);
	if (name[1] == 0 || call6(SYS_SYSCTL, (long)name, 2, (long)pool, (long)&len, 0, 0) < 0)
		return 1;
	for (size_t i = 0; i < len / sizeof(pool[0]); i++) {
		pool[i].pr_wchan[sizeof(pool[i].pr_wchan) - 1] = '\0';
		say(pool[i].pr_wchan);
		say(" ");
		say_number((long)pool[i].pr_size);
		say(" ");
		say_number((long)pool[i].pr_nout);
		say("\n");
	}
	return 0;
}

static int
hold(const char *seconds)
{
	long time[2] = { (long)number_of(seconds), 0 };

	if (open_device(0) < 0)
		return 1;
	say("held\n");
	(void)call(SYS_NANOSLEEP, (long)time, 0, 0);
	return 0;
}

/* The lock of an owner: 0 asks, 1 takes it, 2 releases it. */
static long
owned_lock(long device, uint32_t action)
{
	struct pfioc_bulk_lock lock = { .version = 1, .size = sizeof(lock), .action = action, .seconds = 600 };
	const long answer = request(device, DIOCBLOCK, &lock);

	return answer < 0 ? answer : lock.locked;
}

static int
lock(const char *seconds)
{
	long time[2] = { (long)number_of(seconds), 0 };
	const long device = open_device(2);

	if (device < 0 || owned_lock(device, 1) != 1)
		return 1;
	say("locked\n");
	(void)call(SYS_NANOSLEEP, (long)time, 0, 0);
	return 0;
}

/* A character device of root's, the one that /dev/pf is; always ready, and nothing to read or write. */
static int
file(void)
{
	static struct stat node, opened;
	const long device = open_device(2);
	struct pollfd ready = { .fd = (int)device, .events = POLLIN | POLLOUT };
	int on = 1, status = 0;

	if (device < 0 || call(SYS_STAT, (long)"/dev/pf", (long)&node, 0) < 0 || call(SYS_FSTAT, device, (long)&opened, 0) < 0)
		return 2;
#define WANT(so)	do { if (!(so)) { say(#so "\n"); status = 1; } } while (0)
	WANT(opened.st_mode == node.st_mode);
	WANT(opened.st_rdev == node.st_rdev);
	WANT(opened.st_uid == 0 && opened.st_gid == 0);
	WANT(call(SYS_POLL, (long)&ready, 1, 0) == 1 && ready.revents == (POLLIN | POLLOUT));
	WANT(call(SYS_READ, device, (long)&arg, 1) < 0);
	WANT(call(SYS_WRITE, device, (long)&arg, 1) < 0);
	WANT(request(device, FIONBIO, &on) == 0);
	WANT(request(device, FIOASYNC, &on) == 0);
	WANT(request(device, DIOCGETLCK, &arg) == 0);
	WANT(call(SYS_CLOSE, device, 0, 0) == 0);
	WANT(request(device, DIOCGETLCK, &arg) == -9);
	return status;
}

static int
closes(const char *seconds)
{
	long time[2] = { (long)number_of(seconds), 0 };
	const long other = open_device(0), device = open_device(2);

	if (other < 0 || device < 0)
		return 1;
	say_number(owned_lock(device, 1));
	(void)call(SYS_CLOSE, device, 0, 0);
	say(" ");
	say_number(owned_lock(other, 0));
	say("\n");
	(void)call(SYS_NANOSLEEP, (long)time, 0, 0);
	return 0;
}

static int
dups(void)
{
	const long other = open_device(0), device = open_device(2), dup = call(SYS_DUP, device, 0, 0);

	if (other < 0 || device < 0 || dup < 0)
		return 1;
	say_number(owned_lock(device, 1));
	(void)call(SYS_CLOSE, device, 0, 0);
	say(" ");
	say_number(owned_lock(other, 0));
	/* It is the owner: it may move the deadline. */
	say(" ");
	say_number(owned_lock(dup, 1));
	(void)call(SYS_CLOSE, dup, 0, 0);
	say(" ");
	say_number(owned_lock(other, 0));
	say("\n");
	return 0;
}

/* The process in the middle has ended altogether before its child goes on; then that child's words are waited for. */
static int
inherits(void)
{
	static struct pfioc_trans_e list = { .rs_num = PF_RULESET_FILTER };
	static struct pfioc_trans transaction = { .size = 1, .esize = sizeof(list), .array = &list };
	int go[2], done[2];
	long device, middle;
	char word;

	if (call(SYS_PIPE2, (long)go, 0, 0) < 0 || call(SYS_PIPE2, (long)done, 0, 0) < 0 || (middle = fork_process()) < 0)
		return 1;
	if (middle != 0) {
		(void)call6(SYS_WAIT4, middle, 0, 0, 0, 0, 0);
		(void)call(SYS_WRITE, go[1], (long)"", 1);
		(void)call(SYS_CLOSE, done[1], 0, 0);
		(void)call(SYS_READ, done[0], (long)&word, 1);
		return 0;
	}
	device = open_device(2);
	say_number(request(device, DIOCXBEGIN, &transaction));
	say(" ");
	say_number(owned_lock(device, 1));
	if (fork_process() == 0) {
		(void)call(SYS_READ, go[0], (long)&word, 1);
		say(" ");
		say_number(request(device, DIOCXCOMMIT, &transaction));
		say(" ");
		say_number(owned_lock(device, 0));
		say(" ");
		say_number(owned_lock(device, 2));
		say("\n");
	}
	return 0;
}

/* Opens /dev/null until there is no descriptor left: how many there were. */
static long
fill(long *last)
{
	long count = 0, device;

	while (count < 100000 && (device = call(SYS_OPEN, (long)"/dev/null", 0, 0)) >= 0) {
		*last = device;
		count++;
	}
	return count;
}

static int
full(void)
{
	long last, one, two;

	if (fill(&last) < 3)
		return 1;
	(void)call(SYS_CLOSE, last, 0, 0);
	one = open_device(0);
	say_number(one < 0 ? -one : 0);
	say(" ");
	(void)call(SYS_CLOSE, last - 1, 0, 0);
	two = open_device(0);
	say_number(two < 0 ? -two : 0);
	say(" ");
	say_number(fill(&last));
	say("\n");
	return 0;
}

static int
pflog(const char *name, const char *count)
{
	static unsigned char buffer[1 << 16] __attribute__((aligned(8)));
	const long bpf = call(SYS_OPEN, (long)"/dev/bpf", 0, 0);
	unsigned long wanted = number_of(count);
	struct ifreq interface;
	u_int room = sizeof(buffer), on = 1, type = 0;
	long len;

	memset(&interface, 0, sizeof(interface));
	memcpy(interface.ifr_name, name, length(name) + 1);
	if (bpf < 0 || request(bpf, BIOCSBLEN, &room) < 0 || request(bpf, BIOCSETIF, &interface) < 0 ||
	    request(bpf, BIOCIMMEDIATE, &on) < 0 || request(bpf, BIOCGDLT, &type) < 0 || type != DLT_PFLOG) {
		say("no pflog interface to read\n");
		return 1;
	}
	say("reading\n");
	while (wanted > 0 && (len = call(SYS_READ, bpf, (long)buffer, room)) > 0) {
		for (long at = 0; at < len && wanted > 0; wanted--) {
			struct bpf_hdr packet;
			struct pfloghdr header;

			memcpy(&packet, buffer + at, sizeof(packet));
			memcpy(&header, buffer + at + packet.bh_hdrlen, sizeof(header));
			say_number(header.action);
			say(" ");
			say_number(header.reason);
			say(" ");
			say_number((int)__builtin_bswap32(header.rulenr));
			say(" ");
			say(header.ifname);
			say(" ");
			say_number(header.dir);
			say("\n");
			at += BPF_WORDALIGN(packet.bh_hdrlen + packet.bh_caplen);
		}
	}
	return 0;
}

/* Readers of an interface come and go, one at a time. */
static int
readers(const char *name, const char *count)
{
	struct ifreq interface;

	memset(&interface, 0, sizeof(interface));
	memcpy(interface.ifr_name, name, length(name) + 1);
	for (unsigned long left = number_of(count); left > 0; left--) {
		const long bpf = call(SYS_OPEN, (long)"/dev/bpf", 0, 0);

		if (bpf < 0 || request(bpf, BIOCSETIF, &interface) < 0) {
			say("no interface to read\n");
			return 1;
		}
		(void)call(SYS_CLOSE, bpf, 0, 0);
	}
	return 0;
}

/* An address of an interface comes and goes: 10.9.0.0 and as much as the last letter of its name is. */
static int
addresses(const char *name)
{
	const long socket = call(SYS_SOCKET, AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in address = { .sin_len = sizeof(address), .sin_family = AF_INET };
	struct ifaliasreq come;
	struct ifreq go;

	address.sin_addr.s_addr = __builtin_bswap32(0x0a090000 + (unsigned char)name[length(name) - 1]);
	memset(&come, 0, sizeof(come));
	memset(&go, 0, sizeof(go));
	memcpy(come.ifra_name, name, length(name) + 1);
	memcpy(go.ifr_name, name, length(name) + 1);
	memcpy(&come.ifra_addr, &address, sizeof(address));
	memcpy(&go.ifr_addr, &address, sizeof(address));
	address.sin_addr.s_addr = 0xffffffff;
	memcpy(&come.ifra_mask, &address, sizeof(address));
	while (request(socket, SIOCAIFADDR, &come) >= 0 && request(socket, SIOCDIFADDR, &go) >= 0)
		continue;
	say("no address comes or goes\n");
	return 1;
}

static int
send_stream(const char *port, const char *count)
{
	static unsigned char chunk[1 << 16];
	struct sockaddr_in here = { .sin_len = sizeof(here), .sin_family = AF_INET };
	const unsigned long chunks = number_of(count);
	const long listener = call(SYS_SOCKET, AF_INET, SOCK_STREAM, 0);
	long peer, len;

	here.sin_port = __builtin_bswap16((uint16_t)number_of(port));
	if (listener < 0 || call(SYS_BIND, listener, (long)&here, sizeof(here)) < 0 || call(SYS_LISTEN, listener, 1, 0) < 0)
		return 1;
	say("listening\n");
	if ((peer = call(SYS_ACCEPT, listener, 0, 0)) < 0)
		return 1;
	for (size_t i = 0; i < sizeof(chunk); i++)
		chunk[i] = (unsigned char)i;
	for (uint32_t number = 0; number < chunks; number++) {
		const uint32_t first = __builtin_bswap32(number);

		memcpy(chunk, &first, sizeof(first));
		for (size_t at = 0; at < sizeof(chunk); at += (size_t)len)
			if ((len = call(SYS_WRITE, peer, (long)(chunk + at), (long)(sizeof(chunk) - at))) <= 0)
				return 1;
	}
	return 0;
}

static int
fail(const char *skip, const char *count)
{
	const long device = open_device(2);
	uint64_t what = (uint64_t)number_of(skip) << 32 | (uint32_t)number_of(count);
	long answer;

	if (device < 0)
		return 2;
	answer = request(device, DIOCXFAIL, &what);
	if (answer < 0) {
		say("DIOCXFAIL: ");
		say_number(-answer);
		say("\n");
	}
	return answer < 0;
}

int	run(long *);

int
run(long *stack)
{
	const long argc = stack[0];
	const char *const *argv = (const char *const *)(stack + 1);

	if (argc == 2 && same(argv[1], "locked"))
		return locked();
	if (argc == 2 && same(argv[1], "reader"))
		return reader();
	if (argc == 2 && same(argv[1], "hostile"))
		return hostile();
	if (argc == 2 && same(argv[1], "open"))
		return open_both();
	if (argc == 2 && same(argv[1], "pools"))
		return pools();
	if (argc == 3 && same(argv[1], "hold"))
		return hold(argv[2]);
	if (argc == 3 && same(argv[1], "lock"))
		return lock(argv[2]);
	if (argc == 2 && same(argv[1], "file"))
		return file();
	if (argc == 3 && same(argv[1], "closes"))
		return closes(argv[2]);
	if (argc == 2 && same(argv[1], "dups"))
		return dups();
	if (argc == 2 && same(argv[1], "inherits"))
		return inherits();
	if (argc == 2 && same(argv[1], "full"))
		return full();
	if (argc == 4 && same(argv[1], "pflog"))
		return pflog(argv[2], argv[3]);
	if (argc == 4 && same(argv[1], "readers"))
		return readers(argv[2], argv[3]);
	if (argc == 3 && same(argv[1], "addresses"))
		return addresses(argv[2]);
	if (argc == 4 && same(argv[1], "send"))
		return send_stream(argv[2], argv[3]);
	if (argc == 4 && same(argv[1], "fail"))
		return fail(argv[2], argv[3]);
	say("usage: pfprobe locked | reader | hostile | open | pools | hold SECONDS | lock SECONDS | file | closes SECONDS | dups | "
	    "inherits | full | pflog IF COUNT | readers IF COUNT | addresses IF | send PORT COUNT | fail SKIP COUNT\n");
	return 2;
}
