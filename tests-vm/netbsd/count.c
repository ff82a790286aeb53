/*
 * A plugin for QEMU's TCG that counts the guest's instructions, by where they are, and how deep a function goes into the
 * stack. netbsd/bench.py compiles it and speaks to it through a pipe; each command is a line, and is answered by the line `ok`.
 *
 *	reset			counts begin at zero
 *	dump FILE		lines `ADDRESS COUNT`: blocks by their first instruction, and instructions executed in them
 *	stack ADDRESS FROM TO	from now on, watch calls of the function at ADDRESS; FROM to TO is the text of its module.
 *				Given before the function has ever run.
 *	depth			answered first by `MODULE ALL CALLS`: the most bytes of stack below the function's caller that
 *				the module's own instructions wrote to, and that anything wrote to until the function returned
 *				(what it calls, and interrupts); and how many calls were seen
 *
 * The few declarations below are QEMU's plugin interface, version 1, as its documentation describes it. What a block counts is
 * added without a lock; the guest has one CPU.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_info;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { INLINE_ADD_U64 = 0, CB_NO_REGS = 0, MEM_R = 1, MEM_W = 2, MEM_RW = 3 };

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, void (*)(unsigned int, void *), int, void *);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, void (*)(unsigned int, qemu_plugin_meminfo_t, uint64_t, void *),
    int, int, void *);
bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

/* A kernel stack is smaller. */
enum { WINDOW = 16384, BUCKETS = 1 << 18 };

struct block {
	struct block *next;
	uint64_t address, length, count;
};

static struct block *blocks[BUCKETS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static FILE *commands, *answers;

/* What is known of the stack. */
static uint64_t watched, text_from, text_to;
static bool entered, inside;
static uint64_t base, lowest, lowest_of_module, calls;
static uint64_t depth_all, depth_of_module;

static struct block *
block_at(uint64_t address, uint64_t length)
{
	const size_t at = (address * 0x9e3779b97f4a7c15u) >> 46;
	struct block *block;

	for (block = blocks[at]; block != NULL; block = block->next)
		if (block->address == address && block->length == length)
			return block;
	block = calloc(1, sizeof(*block));
	block->address = address;
	block->length = length;
	block->next = blocks[at];
	blocks[at] = block;
	return block;
}

static void
on_entry(unsigned int cpu, void *data)
{

	(void)cpu;
	(void)data;
	/* The first store of a function is its caller's frame pointer, or a register, right below the return address. */
	entered = true;
}

static void
on_memory(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t address, void *from_module)
{

	(void)cpu;
	if (entered) {
		if (!qemu_plugin_mem_is_store(info))
			return;
		entered = false;
		/* What pf sends goes through the hook again, within the call that is watched. */
		if (inside && address < base && address > base - WINDOW) {
			lowest = address < lowest ? address : lowest;
			return;
		}
		inside = true;
		base = address + 8;
		lowest = lowest_of_module = address;
		calls++;
		return;
	}
	if (!inside || address > base || address < base - WINDOW)
		return;
	if (!qemu_plugin_mem_is_store(info)) {
		if (address == base) {
			inside = false;
			if (base - lowest > depth_all)
				depth_all = base - lowest;
			if (base - lowest_of_module > depth_of_module)
				depth_of_module = base - lowest_of_module;
		}
		return;
	}
	if (address < lowest)
		lowest = address;
	if (from_module != NULL && address < lowest_of_module)
		lowest_of_module = address;
}

static void
on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	const size_t count = qemu_plugin_tb_n_insns(tb);
	struct block *block;

	(void)id;
	pthread_mutex_lock(&lock);
	block = block_at(qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0)), count);
	pthread_mutex_unlock(&lock);
	qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD_U64, &block->count, count);
	if (watched == 0)
		return;
	for (size_t i = 0; i < count; i++) {
		struct qemu_plugin_insn *const instruction = qemu_plugin_tb_get_insn(tb, i);
		const uint64_t address = qemu_plugin_insn_vaddr(instruction);
		const bool of_module = address >= text_from && address < text_to;

		if (address == watched)
			qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_entry, CB_NO_REGS, NULL);
		qemu_plugin_register_vcpu_mem_cb(instruction, on_memory, CB_NO_REGS, MEM_RW, of_module ? &text_from : NULL);
	}
}

static void
dump(const char *path)
{
	FILE *const file = fopen(path, "w");

	if (file == NULL)
		return;
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct block *block = blocks[i]; block != NULL; block = block->next)
			if (block->count != 0)
				fprintf(file, "%llx %llu\n", (unsigned long long)block->address, (unsigned long long)block->count);
	fclose(file);
}

static void *
serve(void *data)
{
	char line[4096];

	(void)data;
	while (fgets(line, sizeof(line), commands) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		pthread_mutex_lock(&lock);
		if (strcmp(line, "reset") == 0) {
			for (size_t i = 0; i < BUCKETS; i++)
				for (struct block *block = blocks[i]; block != NULL; block = block->next)
					block->count = 0;
		} else if (strncmp(line, "dump ", 5) == 0) {
			dump(line + 5);
		} else if (strncmp(line, "stack ", 6) == 0) {
			char *at = line + 6;

			text_from = strtoull(strchr(at, ' '), &at, 16);
			text_to = strtoull(at, NULL, 16);
			watched = strtoull(line + 6, NULL, 16);
		} else if (strcmp(line, "depth") == 0) {
			fprintf(answers, "%llu %llu %llu\n", (unsigned long long)depth_of_module, (unsigned long long)depth_all,
			    (unsigned long long)calls);
		}
		pthread_mutex_unlock(&lock);
		fprintf(answers, "ok\n");
		fflush(answers);
	}
	return NULL;
}

__attribute__((visibility("default"))) int
qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc, char **argv)
{
	pthread_t thread;
	int from = -1, to = -1;

	(void)info;
	for (int i = 0; i < argc; i++) {
		if (strncmp(argv[i], "from=", 5) == 0)
			from = atoi(argv[i] + 5);
		else if (strncmp(argv[i], "to=", 3) == 0)
			to = atoi(argv[i] + 3);
	}
	commands = fdopen(from, "r");
	answers = fdopen(to, "w");
	if (commands == NULL || answers == NULL)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	return pthread_create(&thread, NULL, serve, NULL);
}
