/* The threads of one model: an elastic team.

   The code of a model runs on the caller and on every worker that has woken up. Its statements are split into chunks,
   and a thread claims a chunk at a time: first of its own share, for locality, then of the others'. A barrier waits
   until all chunks so far are finished, not until all threads have come. So the caller waits for nobody who claimed
   nothing, and a worker that comes late finds that nothing is left, and runs through. */
#ifndef ESPALIER_TEAM_H
#define ESPALIER_TEAM_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "support.h"

typedef struct espalier_team espalier_team;
typedef struct espalier_turn espalier_turn;

/* One thread's part in one run. The code reads the first five words (sparse_dialect/lowering/cpu/team.py). */
struct espalier_turn {
    /* Claims a chunk of a statement of `count` items: `begin` to `end`, alike where nothing is left. */
    void (*claim)(espalier_turn *turn, int64_t count);
    /* Returns when all that was claimed in the statements so far is finished. */
    void (*wait)(espalier_turn *turn);
    int64_t begin, end;
    int64_t alone;      /* the code's own: where it runs on one thread, it calls neither function */
    espalier_team *team;
    uint64_t thread, shares;
    uint64_t statement; /* number of the statement, counted over all runs */
    uint64_t expected;  /* chunks in all statements before it, over all runs */
    uint64_t finished;  /* chunks of this statement that this thread has computed */
    uint64_t claimed;   /* whether this thread has claimed anything in this run */
    double begun;       /* when the run began */
};

/* What a model's entry takes. */
typedef struct espalier_layout {
    size_t buffers;         /* how many pointers */
    size_t scratch, turn;   /* which of them are a thread's own */
    size_t sizes;           /* how many free dimensions */
    size_t scratch_bytes;
    size_t packed;          /* not 0: the entry takes pointers to its arguments, as MLIR's ExecutionEngine has it */
    espalier_cpus cpus;     /* what the team's own threads run on */
} espalier_layout;

/* A team of `threads` threads, of which the caller of espalier_team_run is one; null where the system refuses memory
   or threads. */
espalier_team *espalier_team_create(espalier_entry_fn entry, unsigned threads, const espalier_layout *layout);
void espalier_team_destroy(espalier_team *team);

unsigned espalier_team_threads(const espalier_team *team);

/* Seconds from the beginning of the last run until the first worker claimed work; negative where none did. */
double espalier_team_wake_seconds(const espalier_team *team);

/* Whether the team's threads live in this process: a child of fork has none of them. */
bool espalier_team_is_here(const espalier_team *team);

/* One run on up to `threads` threads, at most as many as the team has. `buffers` and `sizes` are copied; scratch and
   turn are filled in. */
void espalier_team_run(espalier_team *team, unsigned threads, void *const *buffers, const int64_t *sizes);

#endif
