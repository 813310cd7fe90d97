/* See team.h.

   Claiming. Every share of a statement's chunks has a word: the number of the statement, and the next chunk of the
   share. Statements are numbered over all runs, so a word is never reset: who comes to statement s and finds an older
   number knows that the share is untouched, since it has itself seen that nothing was left of the statements before;
   and who finds a newer number knows that s is finished. `done` counts finished chunks, likewise over all runs.

   Runs. A worker has two slots for what it is given. The caller fills the one that the worker is not in and offers it;
   when the run is over it withdraws what was not taken. A worker that is late still runs through the statements of an
   old run, where nothing is left to claim, while the caller is in the next; it touches no buffer then, and its slot is
   not written before it has left it. */
#define _GNU_SOURCE /* syscall */
#include "team.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    STACK_BYTES = 1 << 20, /* musl would give 128 KiB */
    LINE = 128,            /* bytes; processors fetch lines of 64 in pairs */
    SHARES = 16,           /* more threads than that share some */
    CHUNKS = 4,            /* of a share */
    NEXT_BITS = 16         /* of a share's word that hold the next chunk; the others hold the statement */
};

/* Seconds of spinning before a thread sleeps: at a barrier, where being woken up again costs about as much, and
   between runs (the next run of a caller who runs back to back comes that soon). */
static const double BARRIER_PATIENCE = 200e-6, RUN_PATIENCE = 100e-6;

/* A worker's state. */
enum { OFFERED_0 = 1, OFFERED_1 = 2, INSIDE_0 = 4, INSIDE_1 = 8, ASLEEP = 16, STOP = 32 };

#ifdef ESPALIER_TEAM_DELAY /* a test's function, called wherever another thread may come between */
void ESPALIER_TEAM_DELAY(void);
#else
#define ESPALIER_TEAM_DELAY() ((void)0)
#endif

typedef struct part {
    espalier_turn turn;
    void **buffers;
    int64_t *sizes;
    int64_t threads;
} part;

typedef struct worker {
    espalier_team *team;
    int64_t number; /* 0 is the caller of espalier_team_run, who has no thread here */
    void *scratch;
    part slots[2];
    pthread_t thread;
    bool has_thread;
    pid_t id;           /* of the thread, for the system */
    espalier_cpus home; /* what it may run on; none named before it has been sent away for the first time */
    bool is_away;       /* from the caller's processor */
    uint32_t state __attribute__((aligned(LINE)));
} worker;

struct share {
    uint64_t next __attribute__((aligned(LINE)));
};

struct espalier_team {
    struct share shares[SHARES];
    uint64_t done __attribute__((aligned(LINE)));
    uint32_t waiting; /* threads that sleep at a barrier, or are about to */
    uint32_t bell;    /* rung when chunks are finished while somebody waits */
    int64_t woken;    /* nanoseconds from the run's beginning until a worker first claimed; negative before */
    pid_t process __attribute__((aligned(LINE)));
    espalier_entry_fn entry;
    espalier_layout layout;
    uint64_t statement, expected; /* where the next run begins */
    unsigned count;
    worker *workers;
};

/* ---- waiting ---------------------------------------------------------------------------------------------- */

static void sleep_while(uint32_t *word, uint32_t value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void wake_all(uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Some nanoseconds to a fifth of a microsecond, for the other thread of a core to use. */
static void breathe(void)
{
    for (int i = 0; i < 4; i++) {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
        __asm__ volatile("yield");
#endif
    }
}

/* ---- claiming --------------------------------------------------------------------------------------------- */

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The next chunk of a share that has chunks `first` to `last`; `last` where none is left. */
static uint64_t claim_of(struct share *share, uint64_t statement, uint64_t first, uint64_t last)
{
    uint64_t word = __atomic_load_n(&share->next, __ATOMIC_ACQUIRE);
    while (word >> NEXT_BITS <= statement) {
        const bool begun = word >> NEXT_BITS == statement;
        const uint64_t next = begun ? word & ((1u << NEXT_BITS) - 1) : first;
        if (next >= last)
            break;
        ESPALIER_TEAM_DELAY();
        if (__atomic_compare_exchange_n(&share->next, &word, statement << NEXT_BITS | (next + 1), false,
                                        __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            return next;
    }
    return last;
}

/* Counts this thread's chunks as finished. Either the waiting thread sees the count, or this one sees it wait. */
static void finish(espalier_turn *turn)
{
    espalier_team *team = turn->team;
    ESPALIER_TEAM_DELAY();
    __atomic_fetch_add(&team->done, turn->finished, __ATOMIC_SEQ_CST);
    turn->finished = 0;
    if (__atomic_load_n(&team->waiting, __ATOMIC_SEQ_CST) == 0)
        return;
    __atomic_fetch_add(&team->bell, 1, __ATOMIC_SEQ_CST);
    wake_all(&team->bell);
}

/* The first worker of a run says how long it took to come. */
static void note_first_claim(espalier_turn *turn)
{
    espalier_team *team = turn->team;
    int64_t before = -1;
    turn->claimed = 1;
    if (turn->thread == 0)
        return;
    const int64_t since = (int64_t)(1e9 * (espalier_now() - turn->begun));
    __atomic_compare_exchange_n(&team->woken, &before, since > 0 ? since : 0, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

static void claim(espalier_turn *turn, int64_t count)
{
    espalier_team *team = turn->team;
    const uint64_t items = count > 0 ? (uint64_t)count : 0, shares = turn->shares;
    const uint64_t chunks = smaller(items, shares * CHUNKS);
    for (uint64_t i = 0; i < shares; i++) {
        const uint64_t at = (turn->thread + i) % shares;
        const uint64_t first = chunks * at / shares, last = chunks * (at + 1) / shares;
        const uint64_t chunk = claim_of(&team->shares[at], turn->statement, first, last);
        if (chunk < last) {
            turn->begin = (int64_t)(items * chunk / chunks);
            turn->end = (int64_t)(items * (chunk + 1) / chunks);
            turn->finished++; /* before the next claim, which is when it counts */
            if (!turn->claimed)
                note_first_claim(turn);
            return;
        }
    }
    if (turn->finished > 0)
        finish(turn);
    turn->begin = turn->end = 0;
    turn->expected += chunks;
    turn->statement++;
}

static void barrier(espalier_turn *turn)
{
    espalier_team *team = turn->team;
    if (__atomic_load_n(&team->done, __ATOMIC_ACQUIRE) >= turn->expected)
        return;
    for (const double begin = espalier_now(); espalier_now() - begin < BARRIER_PATIENCE;) {
        breathe();
        if (__atomic_load_n(&team->done, __ATOMIC_ACQUIRE) >= turn->expected)
            return;
    }
    __atomic_fetch_add(&team->waiting, 1, __ATOMIC_SEQ_CST);
    for (;;) {
        const uint32_t rung = __atomic_load_n(&team->bell, __ATOMIC_SEQ_CST);
        ESPALIER_TEAM_DELAY();
        if (__atomic_load_n(&team->done, __ATOMIC_SEQ_CST) >= turn->expected)
            break;
        sleep_while(&team->bell, rung);
    }
    __atomic_fetch_sub(&team->waiting, 1, __ATOMIC_SEQ_CST);
}

/* ---- workers ---------------------------------------------------------------------------------------------- */

/* Fills in what `self` is given in the run that begins now. */
static void fill(worker *self, part *slot, unsigned threads, double begun, void *const *buffers, const int64_t *sizes)
{
    espalier_team *team = self->team;
    const espalier_layout *layout = &team->layout;
    memcpy(slot->buffers, buffers, layout->buffers * sizeof *buffers);
    if (layout->sizes > 0)
        memcpy(slot->sizes, sizes, layout->sizes * sizeof *sizes);
    slot->buffers[layout->scratch] = self->scratch;
    slot->buffers[layout->turn] = &slot->turn;
    slot->threads = threads;
    slot->turn = (espalier_turn){.claim = claim, .wait = barrier, .team = team, .thread = (uint64_t)self->number,
                                 .shares = smaller(threads, SHARES), .statement = team->statement,
                                 .expected = team->expected, .begun = begun};
}

/* A thread that is woken up may be put on its waker's processor, where it waits for milliseconds: a virtual machine's
   scheduler takes a processor that has slept for a while for one that the host took away. So it is sent away first,
   and may come back as soon as it runs. */
static void offer(worker *self, unsigned threads, double begun, void *const *buffers, const int64_t *sizes)
{
    const int free_slot = (__atomic_load_n(&self->state, __ATOMIC_ACQUIRE) & INSIDE_0) != 0;
    fill(self, &self->slots[free_slot], threads, begun, buffers, sizes);
    ESPALIER_TEAM_DELAY();
    if (__atomic_load_n(&self->state, __ATOMIC_ACQUIRE) & ASLEEP)
        self->is_away = espalier_send_away(self->id, &self->home);
    if (__atomic_fetch_or(&self->state, free_slot ? OFFERED_1 : OFFERED_0, __ATOMIC_ACQ_REL) & ASLEEP)
        wake_all(&self->state);
}

static void withdraw(worker *self)
{
    __atomic_fetch_and(&self->state, ~(uint32_t)(OFFERED_0 | OFFERED_1), __ATOMIC_ACQ_REL);
}

static void call(const espalier_team *team, part *slot, int64_t number)
{
    if (team->layout.packed) {
        void *arguments[] = {&slot->buffers, &slot->sizes, &number, &slot->threads};
        ((void (*)(void **))(void (*)(void))team->entry)(arguments);
    } else {
        team->entry(slot->buffers, slot->sizes, number, slot->threads);
    }
}

/* Takes part in the run that is offered in `state`, if it still is. */
static void take_part(worker *self, uint32_t state)
{
    const int which = (state & OFFERED_1) != 0;
    part *slot = &self->slots[which];
    ESPALIER_TEAM_DELAY();
    if (!__atomic_compare_exchange_n(&self->state, &state, which ? INSIDE_1 : INSIDE_0, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_RELAXED))
        return;
    ESPALIER_TEAM_DELAY();
    if (self->is_away)
        self->is_away = !espalier_pin(&self->home);
    call(self->team, slot, self->number);
    __atomic_fetch_and(&self->state, ~(uint32_t)(INSIDE_0 | INSIDE_1), __ATOMIC_ACQ_REL);
}

static void *work(void *argument)
{
    worker *self = argument;
    self->id = (pid_t)syscall(SYS_gettid);
    espalier_pin(&self->team->layout.cpus); /* refused, as in a container with fewer: it runs where it may */
    double idle = espalier_now();
    for (;;) {
        uint32_t state = __atomic_load_n(&self->state, __ATOMIC_ACQUIRE);
        if (state & STOP)
            return NULL;
        if (state & (OFFERED_0 | OFFERED_1)) {
            take_part(self, state);
            idle = espalier_now();
        } else if (espalier_now() - idle < RUN_PATIENCE) {
            breathe();
        } else if (__atomic_compare_exchange_n(&self->state, &state, ASLEEP, false, __ATOMIC_ACQ_REL,
                                               __ATOMIC_RELAXED)) {
            sleep_while(&self->state, ASLEEP);
        }
    }
}

static bool start(worker *self)
{
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0)
        return false;
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    self->has_thread = pthread_create(&self->thread, &attributes, work, self) == 0;
    pthread_attr_destroy(&attributes);
    return self->has_thread;
}

/* ---- the team --------------------------------------------------------------------------------------------- */

/* Memory and, but for the caller, a thread for worker `number`. */
static bool prepare(espalier_team *team, unsigned number)
{
    const espalier_layout *layout = &team->layout;
    worker *self = &team->workers[number];
    self->team = team;
    self->number = number;
    self->scratch = espalier_zeroed(layout->scratch_bytes);
    bool ready = self->scratch != NULL;
    for (int i = 0; i < 2; i++) {
        self->slots[i].buffers = calloc(layout->buffers + 1, sizeof *self->slots[i].buffers);
        self->slots[i].sizes = calloc(layout->sizes + 1, sizeof *self->slots[i].sizes);
        ready = ready && self->slots[i].buffers != NULL && self->slots[i].sizes != NULL;
    }
    return ready && (number == 0 || start(self));
}

static void release(worker *self, bool here)
{
    if (self->has_thread && here) {
        __atomic_fetch_or(&self->state, STOP, __ATOMIC_ACQ_REL);
        wake_all(&self->state);
        pthread_join(self->thread, NULL);
    }
    for (int i = 0; i < 2; i++) {
        free(self->slots[i].buffers);
        free(self->slots[i].sizes);
    }
    free(self->scratch);
}

static void *zeroed_lines(size_t bytes)
{
    void *memory = NULL;
    if (posix_memalign(&memory, LINE, bytes) != 0)
        return NULL;
    return memset(memory, 0, bytes);
}

espalier_team *espalier_team_create(espalier_entry_fn entry, unsigned threads, const espalier_layout *layout)
{
    espalier_team *team = zeroed_lines(sizeof *team);
    if (team == NULL || (team->workers = zeroed_lines(threads * sizeof *team->workers)) == NULL) {
        free(team);
        return NULL;
    }
    team->process = getpid();
    team->entry = entry;
    team->layout = *layout;
    team->count = threads;
    team->statement = 1; /* the shares' words are 0 */
    for (unsigned i = 0; i < threads; i++)
        if (!prepare(team, i)) {
            espalier_team_destroy(team);
            return NULL;
        }
    return team;
}

void espalier_team_destroy(espalier_team *team)
{
    if (team == NULL)
        return;
    const bool here = espalier_team_is_here(team);
    for (unsigned i = 0; i < team->count; i++)
        release(&team->workers[i], here);
    free(team->workers);
    free(team);
}

double espalier_team_wake_seconds(const espalier_team *team)
{
    return 1e-9 * (double)__atomic_load_n(&team->woken, __ATOMIC_RELAXED);
}

unsigned espalier_team_threads(const espalier_team *team)
{
    return team->count;
}

bool espalier_team_is_here(const espalier_team *team)
{
    return team->process == getpid();
}

void espalier_team_run(espalier_team *team, unsigned threads, void *const *buffers, const int64_t *sizes)
{
    const unsigned used = (unsigned)smaller(threads, team->count);
    part *own = &team->workers[0].slots[0];
    const double begun = espalier_now();
    __atomic_store_n(&team->woken, -1, __ATOMIC_RELAXED); /* the offers publish it */
    fill(&team->workers[0], own, used, begun, buffers, sizes);
    for (unsigned i = 1; i < used; i++)
        offer(&team->workers[i], used, begun, buffers, sizes);
    call(team, own, 0);
    for (unsigned i = 1; i < used; i++)
        withdraw(&team->workers[i]);
    team->statement = own->turn.statement;
    team->expected = own->turn.expected;
}
