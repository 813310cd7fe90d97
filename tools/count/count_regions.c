/* QEMU plugin: what an AArch64 program executes between the markers that it sets, split into regions.
 *
 *     qemu-aarch64 -plugin ./count_regions.so,out=counts.json ./program
 *
 * A marker is the system call getpriority(0x5eed, order, a, b), which Linux refuses with EINVAL:
 *
 *     order 0   stop counting
 *     order 1   count into region a (from 0) from now on
 *     order 2   watch the b 64-bit words at address a: a store to word k counts into region k from now on
 *
 * The last one splits a run of a compiled model into its statements without changing its code: behind
 * statement k the code stores a time stamp to word k. Borders are as fine as QEMU's translation blocks,
 * which are straight-line code. With whole=on markers mean nothing, and the whole program is region 0.
 *
 * At exit one JSON object a line is written for each region that ran: instructions, vector multiplies and
 * multiply-adds ("fmlas"), bytes loaded and stored. "threads" says how many threads ran in any region; more
 * than one means that counts of concurrent regions are mixed.
 *
 * Written against the plugin interface of QEMU 4.2 to 8.2 (version 1), whose header Debian does not ship.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- the part of qemu-plugin.h that this file uses ------------------------------------------------------ */

#define EXPORT __attribute__((visibility("default")))
typedef uint64_t plugin_id;
typedef uint32_t memory_info;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { NO_REGISTERS = 0, READS_AND_WRITES = 3 };

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *instruction);
unsigned qemu_plugin_mem_size_shift(memory_info info);
bool qemu_plugin_mem_is_store(memory_info info);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *), int, void *);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *,
                                      void (*)(unsigned, memory_info, uint64_t, void *), int, int, void *);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id, void (*)(plugin_id, unsigned, int64_t, uint64_t, uint64_t,
                                                              uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                                                              uint64_t));
void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);

EXPORT int qemu_plugin_version = 1;

/* -- counts --------------------------------------------------------------------------------------------- */

enum { GETPRIORITY = 141, MARKER = 0x5eed, MAX_REGIONS = 4096, MAX_THREADS = 64 };

struct counts {
    uint64_t instructions, fmlas, load_bytes, store_bytes;
};

static struct counts regions[MAX_REGIONS];
static struct counts *current; /* NULL: not counting */
static uint64_t watched, watched_end;
static bool seen[MAX_THREADS];
static const char *path;

/* Vector multiplies and multiply-adds (A64 "SIMD three same" and "by element"), f32/f64, then f16. */
static const struct {
    uint32_t mask, value;
} FMLAS[] = {
    {0xbfa0fc00, 0x0e20cc00}, {0xbfa0fc00, 0x0ea0cc00}, {0xbfa0fc00, 0x2e20dc00}, /* fmla fmls fmul  v, v, v */
    {0xbf80f400, 0x0f801000}, {0xbf80f400, 0x0f805000}, {0xbf80f400, 0x0f809000}, /* fmla fmls fmul  v, v, v[i] */
    {0xbfe0fc00, 0x0e400c00}, {0xbfe0fc00, 0x0ec00c00}, {0xbfe0fc00, 0x2e401c00}, /* the same in f16 */
    {0xbfc0f400, 0x0f001000}, {0xbfc0f400, 0x0f005000}, {0xbfc0f400, 0x0f009000},
    {0xbfe0fc00, 0x0e20ec00}, {0xbfe0fc00, 0x2e20cc00}, /* fmlal fmlal2  v, v, v: f16 products into f32 */
    {0xbfc0f400, 0x0f800000}, {0xbfc0f400, 0x2f808000}, /* fmlal fmlal2  v, v, v[i] */
};

static bool is_fmla(uint32_t word)
{
    for (size_t i = 0; i < sizeof FMLAS / sizeof *FMLAS; i++)
        if ((word & FMLAS[i].mask) == FMLAS[i].value)
            return true;
    return false;
}

/* A translated block's length and FMLAs travel in the pointer that its callback gets. */
static void on_block(unsigned cpu, void *packed)
{
    if (!current)
        return;
    current->instructions += (uintptr_t)packed & 0xffff;
    current->fmlas += (uintptr_t)packed >> 16;
    seen[cpu % MAX_THREADS] = true;
}

static void on_access(unsigned cpu, memory_info info, uint64_t address, void *unused)
{
    (void)cpu, (void)unused;
    uint64_t bytes = UINT64_C(1) << qemu_plugin_mem_size_shift(info);
    if (!qemu_plugin_mem_is_store(info)) {
        if (current)
            current->load_bytes += bytes;
        return;
    }
    if (current)
        current->store_bytes += bytes;
    if (address >= watched && address < watched_end)
        current = &regions[(address - watched) / 8];
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    uintptr_t length = qemu_plugin_tb_n_insns(block), fmlas = 0;
    for (size_t i = 0; i < length; i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(instruction), sizeof word);
        fmlas += is_fmla(word);
        qemu_plugin_register_vcpu_mem_cb(instruction, on_access, NO_REGISTERS, READS_AND_WRITES, NULL);
    }
    qemu_plugin_register_vcpu_tb_exec_cb(block, on_block, NO_REGISTERS, (void *)(length | fmlas << 16));
}

static void on_syscall(plugin_id id, unsigned cpu, int64_t number, uint64_t which, uint64_t order, uint64_t a,
                       uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f)
{
    (void)id, (void)cpu, (void)c, (void)d, (void)e, (void)f;
    if (number != GETPRIORITY || which != MARKER)
        return;
    if ((order == 1 && a >= MAX_REGIONS) || (order == 2 && b > MAX_REGIONS)) {
        fprintf(stderr, "count_regions: at most %d regions\n", MAX_REGIONS);
        exit(1);
    }
    if (order == 0)
        current = NULL, watched = watched_end = 0;
    else if (order == 1)
        current = &regions[a];
    else if (order == 2)
        watched = a, watched_end = a + 8 * b;
}

static void on_end(plugin_id id, void *unused)
{
    (void)id, (void)unused;
    int threads = 0;
    for (int i = 0; i < MAX_THREADS; i++)
        threads += seen[i];
    FILE *file = fopen(path, "w");
    if (!file) {
        perror(path);
        return;
    }
    for (int i = 0; i < MAX_REGIONS; i++) {
        const struct counts *c = &regions[i];
        if (c->instructions)
            fprintf(file,
                    "{\"region\": %d, \"threads\": %d, \"instructions\": %lu, \"fmlas\": %lu, "
                    "\"load_bytes\": %lu, \"store_bytes\": %lu}\n",
                    i, threads, c->instructions, c->fmlas, c->load_bytes, c->store_bytes);
    }
    fclose(file);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int count, char **arguments)
{
    (void)info;
    for (int i = 0; i < count; i++) {
        if (!strncmp(arguments[i], "out=", 4))
            path = strdup(arguments[i] + 4);
        if (!strcmp(arguments[i], "whole=on"))
            current = regions;
    }
    if (!path) {
        fprintf(stderr, "count_regions: expected out=FILE\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    if (!current)
        qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    qemu_plugin_register_atexit_cb(id, on_end, NULL);
    return 0;
}
