/*
 * Every ioctl of /dev/pf, by NetBSD's own <net/pfvar.h> alone, as an admin's tools know them. It loads rules of its own, so run it where
 * that does no harm; what was loaded is gone afterwards.
 *
 *   pfioctl [-q] [device]
 *
 * A line for each check, in the manner of TAP; the status is 1 where one of them failed. -q leaves out those that passed.
 * An ioctl of which the kernel says EOPNOTSUPP or ENODEV is told as skipped: a kernel without tables or queues is one, too.
 */
#include <sys/param.h>
#include <sys/types.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <net/if.h>
#include <netinet/in.h>
#include <net/pfvar.h>

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int dev, reader, checks, failures;
static bool quiet;

static void
report(bool good, const char *what, const char *why)
{

	checks++;
	if (!good)
		failures++;
	if (!good || !quiet)
		printf("%s %d - %s%s%s\n", good ? "ok" : "not ok", checks, what, *why ? ": " : "", why);
}

/* An ioctl that has to end with this error, 0 for none. */
static bool
expect(const char *what, int fd, unsigned long cmd, void *arg, int error)
{
	const int got = ioctl(fd, cmd, arg) == -1 ? errno : 0;
	char why[256] = "";

	if (error == 0 && (got == EOPNOTSUPP || got == ENODEV)) {
		checks++;
		printf("ok %d - %s # SKIP %s\n", checks, what, strerror(got));
		return false;
	}
	if (got != error)
		snprintf(why, sizeof(why), "%s instead of %s", got ? strerror(got) : "success",
		    error ? strerror(error) : "success");
	report(got == error, what, why);
	return got == error && error == 0;
}

#define DO(cmd, arg)		expect(#cmd, dev, cmd, arg, 0)
#define FAILS(cmd, arg, error)	expect(#cmd " fails", dev, cmd, arg, error)
/* What changes something is not for a reader; what only tells is. */
#define DENIED(cmd, arg)	expect(#cmd " by a reader", reader, cmd, arg, EACCES)
#define TELLS(cmd, arg)		expect(#cmd " by a reader", reader, cmd, arg, 0)

static void
test_whole(void)
{
	struct pf_status status;
	struct pfioc_if pi;
	struct pfioc_tm tm = { .timeout = PFTM_INTERVAL, .seconds = 7 };
	struct pfioc_limit limit = { .index = PF_LIMIT_STATES, .limit = 12345 };
	u_int32_t level = PF_DEBUG_MISC, hostid = htonl(0x01020304);

	(void)ioctl(dev, DIOCSTOP);
	DENIED(DIOCSTART, NULL);
	DO(DIOCSTART, NULL);
	FAILS(DIOCSTART, NULL, EEXIST);
	memset(&status, 0xa5, sizeof(status));
	if (TELLS(DIOCGETSTATUS, &status))
		report(status.running == 1, "the status says that it runs", "");
	DENIED(DIOCSTOP, NULL);
	DO(DIOCSTOP, NULL);
	FAILS(DIOCSTOP, NULL, ENOENT);

	memset(&pi, 0, sizeof(pi));
	strlcpy(pi.ifname, "lo0", sizeof(pi.ifname));
	DENIED(DIOCSETSTATUSIF, &pi);
	DO(DIOCSETSTATUSIF, &pi);
	if (DO(DIOCGETSTATUS, &status))
		report(strcmp(status.ifname, "lo0") == 0, "the status is of lo0", "");
	strlcpy(pi.ifname, "nosuch99", sizeof(pi.ifname));
	FAILS(DIOCSETSTATUSIF, &pi, EINVAL);
	memset(&pi, 0, sizeof(pi));
	DO(DIOCSETSTATUSIF, &pi);

	DENIED(DIOCCLRSTATUS, NULL);
	DO(DIOCCLRSTATUS, NULL);
	DENIED(DIOCSETDEBUG, &level);
	DO(DIOCSETDEBUG, &level);
	DENIED(DIOCSETHOSTID, &hostid);
	DO(DIOCSETHOSTID, &hostid);
	if (DO(DIOCGETSTATUS, &status))
		report(status.debug == level && status.hostid == hostid, "level and host are told", "");

	DENIED(DIOCSETTIMEOUT, &tm);
	if (DO(DIOCSETTIMEOUT, &tm)) {
		const int before = tm.seconds;

		tm.seconds = 0;
		if (TELLS(DIOCGETTIMEOUT, &tm))
			report(tm.seconds == 7, "the timeout is what was set", "");
		tm.seconds = before;
		DO(DIOCSETTIMEOUT, &tm);
	}
	tm.timeout = PFTM_MAX;
	FAILS(DIOCSETTIMEOUT, &tm, EINVAL);
	FAILS(DIOCGETTIMEOUT, &tm, EINVAL);

	DENIED(DIOCSETLIMIT, &limit);
	if (DO(DIOCSETLIMIT, &limit)) {
		const unsigned int before = limit.limit;

		if (TELLS(DIOCGETLIMIT, &limit))
			report(limit.limit == 12345, "the limit is what was set", "");
		limit.limit = before;
		DO(DIOCSETLIMIT, &limit);
	}
	limit.index = PF_LIMIT_MAX;
	FAILS(DIOCGETLIMIT, &limit, EINVAL);
}

static void
test_interfaces(void)
{
	struct pfi_kif kifs[64];
	struct pfioc_iface io;

	memset(&io, 0, sizeof(io));
	io.pfiio_esize = sizeof(kifs[0]);
	io.pfiio_buffer = kifs;
	io.pfiio_size = 64;
	if (TELLS(DIOCIGETIFACES, &io))
		report(io.pfiio_size > 0, "there are interfaces", "");
	io.pfiio_esize = 1;
	FAILS(DIOCIGETIFACES, &io, ENODEV);
	memset(&io, 0, sizeof(io));
	strlcpy(io.pfiio_name, "lo0", sizeof(io.pfiio_name));
	io.pfiio_flags = PFI_IFLAG_SKIP;
	DENIED(DIOCSETIFFLAG, &io);
	DO(DIOCSETIFFLAG, &io);
	DENIED(DIOCCLRIFFLAG, &io);
	DO(DIOCCLRIFFLAG, &io);
}

/* Begins, commits or rolls back the rules of a kind; their ticket. */
static u_int32_t
transaction_of(int kind, const char *what, unsigned long cmd, u_int32_t ticket, int error)
{
	struct pfioc_trans_e element;
	struct pfioc_trans trans = { .size = 1, .esize = sizeof(element), .array = &element };

	memset(&element, 0, sizeof(element));
	element.rs_num = kind;
	element.ticket = ticket;
	expect(what, dev, cmd, &trans, error);
	return element.ticket;
}

static u_int32_t
transaction(const char *what, unsigned long cmd, u_int32_t ticket, int error)
{

	return transaction_of(PF_RULESET_FILTER, what, cmd, ticket, error);
}

static u_int32_t
empty_pool(void)
{
	struct pfioc_pooladdr pool;

	memset(&pool, 0, sizeof(pool));
	DO(DIOCBEGINADDRS, &pool);
	return pool.ticket;
}

static void
test_rules(void)
{
	struct pfioc_rule rule;
	struct pfioc_pooladdr pool;
	struct pfioc_ruleset set;
	struct pfioc_trans trans = { .size = 1, .esize = 1 };
	u_int32_t ticket, pool_ticket, loaded;

	DENIED(DIOCXBEGIN, &trans);
	DENIED(DIOCXCOMMIT, &trans);
	DENIED(DIOCXROLLBACK, &trans);
	FAILS(DIOCXBEGIN, &trans, ENODEV);
	ticket = transaction("DIOCXBEGIN", DIOCXBEGIN, 0, 0);
	pool_ticket = empty_pool();
	memset(&rule, 0, sizeof(rule));
	rule.ticket = ticket;
	rule.pool_ticket = pool_ticket;
	rule.rule.action = PF_PASS;
	rule.rule.keep_state = PF_STATE_NORMAL;
	rule.rule.rtableid = -1;
	strlcpy(rule.rule.label, "pfioctl", sizeof(rule.rule.label));
	DENIED(DIOCADDRULE, &rule);
	DO(DIOCADDRULE, &rule);
	rule.ticket++;
	FAILS(DIOCADDRULE, &rule, EBUSY);
	rule.ticket = ticket;
	rule.pool_ticket = pool_ticket + 1;
	FAILS(DIOCADDRULE, &rule, EBUSY);
	rule.pool_ticket = empty_pool();
	rule.rule.af = 77;
	expect("DIOCADDRULE with a family of 77 fails", dev, DIOCADDRULE, &rule, EINVAL);
	transaction("DIOCXCOMMIT with a stale ticket fails", DIOCXCOMMIT, ticket + 1, EBUSY);
	transaction("DIOCXCOMMIT", DIOCXCOMMIT, ticket, 0);

	memset(&rule, 0, sizeof(rule));
	rule.rule.action = PF_PASS;
	if (TELLS(DIOCGETRULES, &rule))
		report(rule.nr == 1, "one rule is loaded", "");
	loaded = rule.ticket;
	rule.nr = 0;
	if (TELLS(DIOCGETRULE, &rule)) {
		report(strcmp(rule.rule.label, "pfioctl") == 0, "it is ours", "");
		report(rule.rule.anchor == NULL && rule.rule.overload_tbl == NULL, "no pointer of the kernel is in it", "");
	}
	rule.action = PF_GET_CLR_CNTR;
	DENIED(DIOCGETRULE, &rule);
	rule.ticket = loaded;
	rule.nr = 0;
	DO(DIOCGETRULE, &rule);
	rule.nr = 1;
	FAILS(DIOCGETRULE, &rule, EBUSY);
	DENIED(DIOCCLRRULECTRS, NULL);
	DO(DIOCCLRRULECTRS, NULL);

	memset(&pool, 0, sizeof(pool));
	pool.r_action = PF_PASS;
	pool.ticket = loaded;
	if (TELLS(DIOCGETADDRS, &pool))
		report(pool.nr == 0, "its pool is empty", "");
	FAILS(DIOCGETADDR, &pool, EBUSY);
	pool.ticket = 0xdeadbeef;
	pool.addr.addr.type = PF_ADDR_ADDRMASK;
	FAILS(DIOCADDADDR, &pool, EBUSY);
	DENIED(DIOCADDADDR, &pool);
	DENIED(DIOCBEGINADDRS, &pool);
	DENIED(DIOCCHANGEADDR, &pool);

	/* To change a single rule: its ticket first, then the rule at the tail. */
	memset(&rule, 0, sizeof(rule));
	rule.action = PF_CHANGE_GET_TICKET;
	rule.rule.action = PF_PASS;
	DENIED(DIOCCHANGERULE, &rule);
	if (DO(DIOCCHANGERULE, &rule)) {
		rule.action = PF_CHANGE_ADD_TAIL;
		rule.pool_ticket = empty_pool();
		rule.rule.rtableid = -1;
		DO(DIOCCHANGERULE, &rule);
	}
	memset(&set, 0, sizeof(set));
	if (TELLS(DIOCGETRULESETS, &set))
		FAILS(DIOCGETRULESET, (set.nr = 0x7fffffff, &set), EBUSY);

	ticket = transaction("DIOCXBEGIN", DIOCXBEGIN, 0, 0);
	transaction("DIOCXROLLBACK", DIOCXROLLBACK, ticket, 0);
	transaction("DIOCXCOMMIT after a rollback fails", DIOCXCOMMIT, ticket, EBUSY);
}

/* 192.0.2.n as an address of a pool. */
static void
pool_address(struct pfioc_pooladdr *pool, unsigned int n)
{

	memset(&pool->addr, 0, sizeof(pool->addr));
	pool->af = AF_INET;
	pool->addr.addr.type = PF_ADDR_ADDRMASK;
	pool->addr.addr.v.a.addr.v4.s_addr = htonl(0xc0000200 + n);
	pool->addr.addr.v.a.mask.v4.s_addr = 0xffffffff;
}

/* The pool of the rule that is loaded has these addresses: their last bytes, and a 0 at the end. */
static void
pool_has(u_int32_t ticket, const unsigned char *expected)
{
	struct pfioc_pooladdr pool;
	unsigned int count = 0;
	bool same = true;

	while (expected[count] != 0)
		count++;
	memset(&pool, 0, sizeof(pool));
	pool.r_action = PF_NAT;
	pool.ticket = ticket;
	if (!TELLS(DIOCGETADDRS, &pool))
		return;
	same = pool.nr == count;
	for (unsigned int i = 0; same && i < count; i++) {
		pool.nr = i;
		same = ioctl(reader, DIOCGETADDR, &pool) == 0 &&
		    (ntohl(pool.addr.addr.v.a.addr.v4.s_addr) & 0xff) == expected[i] && pool.addr.kif == NULL;
	}
	report(same, "the pool is what it was changed to", "");
}

static void
test_pools(void)
{
	static const struct {
		u_int32_t	action, nr;
		unsigned int	address;
		unsigned char	after[6];
	} steps[] = {
		{ PF_CHANGE_ADD_TAIL, 0, 20, { 10, 20 } },
		{ PF_CHANGE_ADD_HEAD, 0, 5, { 5, 10, 20 } },
		{ PF_CHANGE_ADD_BEFORE, 1, 7, { 5, 7, 10, 20 } },
		{ PF_CHANGE_ADD_AFTER, 3, 30, { 5, 7, 10, 20, 30 } },
		{ PF_CHANGE_REMOVE, 1, 0, { 5, 10, 20, 30 } },
	};
	struct pfioc_rule rule;
	struct pfioc_pooladdr pool;
	u_int32_t ticket;

	ticket = transaction_of(PF_RULESET_NAT, "DIOCXBEGIN of NAT rules", DIOCXBEGIN, 0, 0);
	memset(&pool, 0, sizeof(pool));
	pool.ticket = empty_pool();
	pool_address(&pool, 10);
	DO(DIOCADDADDR, &pool);
	memset(&rule, 0, sizeof(rule));
	rule.ticket = ticket;
	rule.pool_ticket = pool.ticket;
	rule.rule.action = PF_NAT;
	rule.rule.af = AF_INET;
	rule.rule.rtableid = -1;
	rule.rule.rpool.opts = PF_POOL_ROUNDROBIN;
	DO(DIOCADDRULE, &rule);
	transaction_of(PF_RULESET_NAT, "DIOCXCOMMIT of NAT rules", DIOCXCOMMIT, ticket, 0);

	memset(&rule, 0, sizeof(rule));
	rule.rule.action = PF_NAT;
	if (!TELLS(DIOCGETRULES, &rule))
		return;
	for (unsigned int i = 0; i < __arraycount(steps); i++) {
		memset(&pool, 0, sizeof(pool));
		pool_address(&pool, steps[i].address);
		pool.action = steps[i].action;
		pool.nr = steps[i].nr;
		pool.r_action = PF_NAT;
		pool.ticket = rule.ticket;
		if (!DO(DIOCCHANGEADDR, &pool))
			return;
		pool_has(rule.ticket, steps[i].after);
	}
	pool.nr = 99;
	expect("DIOCCHANGEADDR of an address that is not there fails", dev, DIOCCHANGEADDR, &pool, EINVAL);
	pool.action = PF_CHANGE_GET_TICKET;
	expect("DIOCCHANGEADDR that asks for a ticket fails", dev, DIOCCHANGEADDR, &pool, EINVAL);
	pool.action = PF_CHANGE_REMOVE;
	pool.nr = 0;
	pool.r_num = 1;
	expect("DIOCCHANGEADDR of a rule that is not there fails", dev, DIOCCHANGEADDR, &pool, EBUSY);
	pool.r_num = 0;
	pool.ticket ^= 1;
	expect("DIOCCHANGEADDR with a stale ticket fails", dev, DIOCCHANGEADDR, &pool, EBUSY);
	ticket = transaction_of(PF_RULESET_NAT, "DIOCXBEGIN of NAT rules", DIOCXBEGIN, 0, 0);
	transaction_of(PF_RULESET_NAT, "DIOCXCOMMIT of no NAT rules", DIOCXCOMMIT, ticket, 0);
}

/* A TCP connection from 10.0.0.n. */
static void
connection(struct pfsync_state *s, unsigned int n)
{

	memset(s, 0, sizeof(*s));
	strlcpy(s->ifname, "lo0", sizeof(s->ifname));
	s->lan.addr.v4.s_addr = s->gwy.addr.v4.s_addr = htonl(0x0a000000 + n);
	s->lan.port = s->gwy.port = htons(1024);
	s->ext.addr.v4.s_addr = htonl(0xc6336407);
	s->ext.port = htons(443);
	s->src.state = s->dst.state = 4;	/* TCPS_ESTABLISHED */
	s->src.max_win = s->dst.max_win = 4096;
	s->src.seqhi = s->dst.seqhi = 4096;
	s->rule = s->anchor = s->nat_rule = (u_int32_t)-1;
	s->af = AF_INET;
	s->proto = IPPROTO_TCP;
	s->direction = PF_OUT;
	s->timeout = PFTM_TCP_ESTABLISHED;
	s->expire = 3600;
}

static void
test_states(void)
{
	struct pfsync_state state, states[8];
	struct pfioc_state one = { .state = &state };
	struct pfioc_states many;
	struct pfioc_state_kill kill;
	struct pfioc_natlook look;
	u_int32_t lock = 1;

	memset(&kill, 0, sizeof(kill));
	DENIED(DIOCCLRSTATES, &kill);
	DO(DIOCCLRSTATES, &kill);

	DENIED(DIOCSETLCK, &lock);
	DO(DIOCSETLCK, &lock);
	connection(&state, 1);
	DENIED(DIOCADDSTATE, &one);
	DO(DIOCADDSTATE, &one);
	expect("DIOCADDSTATE of what is there fails", dev, DIOCADDSTATE, &one, EEXIST);
	state.af = 77;
	expect("DIOCADDSTATE with a family of 77 fails", dev, DIOCADDSTATE, &one, EINVAL);
	connection(&state, 2);
	state.direction = 9;
	expect("DIOCADDSTATE with a direction of 9 fails", dev, DIOCADDSTATE, &one, EINVAL);
	connection(&state, 2);
	memset(state.ifname, 'x', sizeof(state.ifname));
	expect("DIOCADDSTATE with an endless name fails", dev, DIOCADDSTATE, &one, EINVAL);
	one.state = (void *)8;
	expect("DIOCADDSTATE from nowhere fails", dev, DIOCADDSTATE, &one, EFAULT);
	one.state = &state;
	for (unsigned int i = 0; i < 4; i++)
		connection(&states[i], 10 + i);
	memset(&many, 0, sizeof(many));
	many.ps_len = 4 * sizeof(states[0]);
	many.ps_states = states;
	DENIED(DIOCADDSTATES, &many);
	DO(DIOCADDSTATES, &many);
	many.ps_len = 4 * sizeof(states[0]);
	many.ps_states = (void *)8;
	expect("DIOCADDSTATES from nowhere fails", dev, DIOCADDSTATES, &many, EFAULT);
	lock = 0;
	DO(DIOCSETLCK, &lock);

	memset(&many, 0, sizeof(many));
	if (TELLS(DIOCGETSTATES, &many))
		report(many.ps_len >= (int)(5 * sizeof(state)), "five states need room", "");
	many.ps_len = sizeof(states);
	many.ps_states = states;
	if (TELLS(DIOCGETSTATES, &many) && many.ps_len > 0) {
		memset(&state, 0, sizeof(state));
		memcpy(state.id, states[0].id, sizeof(state.id));
		state.creatorid = states[0].creatorid;
		if (TELLS(DIOCGETSTATE, &one))
			report(memcmp(&state.lan, &states[0].lan, sizeof(state.lan)) == 0, "it is the one", "");
	}
	memset(state.id, 0x77, sizeof(state.id));
	FAILS(DIOCGETSTATE, &one, ENOENT);

	memset(&look, 0, sizeof(look));
	FAILS(DIOCNATLOOK, &look, EINVAL);
	look.af = AF_INET;
	look.proto = IPPROTO_TCP;
	look.direction = PF_IN;
	look.saddr.v4.s_addr = htonl(0x0a000001);
	look.sport = htons(1024);
	look.daddr.v4.s_addr = htonl(0xc6336407);
	look.dport = htons(443);
	if (TELLS(DIOCNATLOOK, &look))
		report(look.rsaddr.v4.s_addr == look.saddr.v4.s_addr, "it was not translated", "");

	memset(&kill, 0, sizeof(kill));
	kill.psk_af = AF_INET;
	kill.psk_src.addr.type = PF_ADDR_ADDRMASK;
	kill.psk_src.addr.v.a.addr.v4.s_addr = htonl(0x0a000001);
	kill.psk_src.addr.v.a.mask.v4.s_addr = 0xffffffff;
	DENIED(DIOCKILLSTATES, &kill);
	if (DO(DIOCKILLSTATES, &kill))
		report(kill.psk_af == 1, "one state was killed", "");
	memset(&kill, 0, sizeof(kill));
	DO(DIOCCLRSTATES, &kill);
}

static void
test_sources(void)
{
	struct pfioc_src_nodes nodes;
	struct pfioc_src_node_kill kill;
	struct pf_osfp_ioctl fp;

	memset(&nodes, 0, sizeof(nodes));
	TELLS(DIOCGETSRCNODES, &nodes);
	memset(&kill, 0, sizeof(kill));
	DENIED(DIOCKILLSRCNODES, &kill);
	DO(DIOCKILLSRCNODES, &kill);
	DENIED(DIOCCLRSRCNODES, NULL);
	DO(DIOCCLRSRCNODES, NULL);

	memset(&fp, 0, sizeof(fp));
	DENIED(DIOCOSFPFLUSH, NULL);
	DO(DIOCOSFPFLUSH, NULL);
	DENIED(DIOCOSFPADD, &fp);
	FAILS(DIOCOSFPGET, &fp, EBUSY);
	strlcpy(fp.fp_os.fp_class_nm, "Test", sizeof(fp.fp_os.fp_class_nm));
	fp.fp_os.fp_enflags = 1;
	fp.fp_tcpopts = 0;
	DO(DIOCOSFPADD, &fp);
	DO(DIOCOSFPFLUSH, NULL);
}

static void
test_tables(void)
{
	static const struct {
		const char	*name;
		unsigned long	cmd;
		bool		changes;
	} calls[] = {
		{ "DIOCRCLRTABLES", DIOCRCLRTABLES, true }, { "DIOCRADDTABLES", DIOCRADDTABLES, true },
		{ "DIOCRDELTABLES", DIOCRDELTABLES, true }, { "DIOCRGETTABLES", DIOCRGETTABLES, false },
		{ "DIOCRGETTSTATS", DIOCRGETTSTATS, false }, { "DIOCRCLRTSTATS", DIOCRCLRTSTATS, true },
		{ "DIOCRCLRADDRS", DIOCRCLRADDRS, true }, { "DIOCRADDADDRS", DIOCRADDADDRS, true },
		{ "DIOCRDELADDRS", DIOCRDELADDRS, true }, { "DIOCRSETADDRS", DIOCRSETADDRS, true },
		{ "DIOCRGETADDRS", DIOCRGETADDRS, false }, { "DIOCRGETASTATS", DIOCRGETASTATS, false },
		{ "DIOCRCLRASTATS", DIOCRCLRASTATS, true }, { "DIOCRTSTADDRS", DIOCRTSTADDRS, false },
		{ "DIOCRSETTFLAGS", DIOCRSETTFLAGS, true }, { "DIOCRINADEFINE", DIOCRINADEFINE, true },
	};
	struct pfioc_table io;
	struct pfr_table table;
	struct pfr_tstats stats[4];
	struct pfr_addr addr;
	struct pfr_astats astats;

	for (unsigned int i = 0; i < __arraycount(calls); i++) {
		memset(&io, 0, sizeof(io));
		if (calls[i].changes)
			expect(calls[i].name, reader, calls[i].cmd, &io, EACCES);
	}
	memset(&table, 0, sizeof(table));
	strlcpy(table.pfrt_name, "pfioctl", sizeof(table.pfrt_name));
	table.pfrt_flags = PFR_TFLAG_PERSIST;
	memset(&io, 0, sizeof(io));
	io.pfrio_buffer = &table;
	io.pfrio_esize = sizeof(table);
	io.pfrio_size = 1;
	if (!DO(DIOCRADDTABLES, &io))
		return;
	report(io.pfrio_nadd == 1, "a table was added", "");

	memset(&io, 0, sizeof(io));
	io.pfrio_buffer = &table;
	io.pfrio_esize = sizeof(table);
	if (TELLS(DIOCRGETTABLES, &io))
		report(io.pfrio_size >= 1, "there is a table", "");
	memset(&io, 0, sizeof(io));
	io.pfrio_buffer = stats;
	io.pfrio_esize = sizeof(stats[0]);
	io.pfrio_size = 4;
	TELLS(DIOCRGETTSTATS, &io);

	memset(&addr, 0, sizeof(addr));
	addr.pfra_af = AF_INET;
	addr.pfra_net = 24;
	addr.pfra_ip4addr.s_addr = htonl(0x0a010200);
	memset(&io, 0, sizeof(io));
	io.pfrio_table = table;
	io.pfrio_table.pfrt_flags = 0;
	io.pfrio_buffer = &addr;
	io.pfrio_esize = sizeof(addr);
	io.pfrio_size = 1;
	if (DO(DIOCRADDADDRS, &io))
		report(io.pfrio_nadd == 1, "an address was added", "");
	io.pfrio_size = 1;
	if (TELLS(DIOCRGETADDRS, &io))
		report(io.pfrio_size == 1, "one address is in it", "");
	io.pfrio_buffer = &astats;
	io.pfrio_esize = sizeof(astats);
	io.pfrio_size = 1;
	TELLS(DIOCRGETASTATS, &io);
	io.pfrio_buffer = &addr;
	io.pfrio_esize = sizeof(addr);
	addr.pfra_net = 32;
	addr.pfra_ip4addr.s_addr = htonl(0x0a010203);
	io.pfrio_size = 1;
	if (TELLS(DIOCRTSTADDRS, &io))
		report(io.pfrio_nmatch == 1, "10.1.2.3 matches 10.1.2.0/24", "");
	/* What came back in it is none of a question. */
	addr.pfra_fback = PFR_FB_NONE;
	addr.pfra_net = 24;
	addr.pfra_ip4addr.s_addr = htonl(0x0a010200);
	DO(DIOCRCLRASTATS, &io);
	DO(DIOCRSETADDRS, &io);
	DO(DIOCRDELADDRS, &io);
	memset(&io, 0, sizeof(io));
	io.pfrio_table = table;
	io.pfrio_table.pfrt_flags = 0;
	DO(DIOCRCLRADDRS, &io);

	/* A table is known by its name: flags are for those that are added. */
	table.pfrt_flags = 0;
	memset(&io, 0, sizeof(io));
	io.pfrio_buffer = &table;
	io.pfrio_esize = sizeof(table);
	io.pfrio_size = 1;
	DO(DIOCRCLRTSTATS, &io);
	io.pfrio_setflag = PFR_TFLAG_CONST;
	DO(DIOCRSETTFLAGS, &io);
	memset(&io, 0, sizeof(io));
	io.pfrio_table = table;
	io.pfrio_esize = sizeof(addr);
	io.pfrio_table.pfrt_flags = PFR_TFLAG_PERSIST;
	io.pfrio_ticket = 0xdeadbeef;
	FAILS(DIOCRINADEFINE, &io, EBUSY);
	memset(&io, 0, sizeof(io));
	io.pfrio_buffer = &table;
	io.pfrio_esize = sizeof(table);
	io.pfrio_size = 1;
	DO(DIOCRDELTABLES, &io);
	memset(&io, 0, sizeof(io));
	DO(DIOCRCLRTABLES, &io);
}

/* A kernel with ALTQ is none of ours: what it answers is shown, and is no failure. */
static void
test_queues(void)
{
	struct pfioc_altq altq;
	struct pfioc_qstats stats;

	memset(&altq, 0, sizeof(altq));
	memset(&stats, 0, sizeof(stats));
	DENIED(DIOCADDALTQ, &altq);
	DENIED(DIOCCHANGEALTQ, &altq);
	DENIED(DIOCSTARTALTQ, NULL);
	DENIED(DIOCSTOPALTQ, NULL);
	if (ioctl(reader, DIOCGETALTQS, &altq) == 0)
		return;
	FAILS(DIOCGETALTQS, &altq, ENODEV);
	FAILS(DIOCGETALTQ, &altq, ENODEV);
	FAILS(DIOCADDALTQ, &altq, ENODEV);
	FAILS(DIOCCHANGEALTQ, &altq, ENODEV);
	FAILS(DIOCSTARTALTQ, NULL, ENODEV);
	FAILS(DIOCSTOPALTQ, NULL, ENODEV);
	FAILS(DIOCGETQSTATS, &stats, ENODEV);
}

int
main(int argc, char **argv)
{
	const char *path = "/dev/pf";
	u_int32_t ticket;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "-q") == 0)
			quiet = true;
		else
			path = argv[i];
	}
	if ((dev = open(path, O_RDWR)) == -1 || (reader = open(path, O_RDONLY)) == -1)
		err(2, "%s", path);
	test_whole();
	test_interfaces();
	test_rules();
	test_pools();
	test_states();
	test_sources();
	test_tables();
	test_queues();
	ticket = transaction("DIOCXBEGIN", DIOCXBEGIN, 0, 0);
	transaction("DIOCXCOMMIT of nothing", DIOCXCOMMIT, ticket, 0);
	printf("1..%d\n", checks);
	return failures != 0;
}
