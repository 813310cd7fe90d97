/* The threads of one model. All of them call the entry together; between runs the workers sleep. */
#ifndef ESPALIER_TEAM_H
#define ESPALIER_TEAM_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <sys/types.h>

#include "support.h"

typedef struct espalier_team espalier_team;

typedef struct espalier_worker {
    espalier_team *team;
    int64_t number;    /* 0 is the caller of espalier_run, who has no thread here */
    void **buffers;    /* what the entry takes on this thread */
    void *scratch;
    sem_t wake;
    pthread_t thread;
    bool has_thread;
} espalier_worker;

struct espalier_team {
    pid_t process;     /* that started the threads: a child of fork has none of them */
    espalier_entry_fn entry;
    const int64_t *sizes;
    bool stopping;
    unsigned count;
    espalier_worker *workers;
};

/* Starts `threads` - 1 threads, each with room for `buffers` pointers and `scratch` bytes; null where the
   system refuses memory or threads. */
espalier_team *espalier_team_create(espalier_entry_fn entry, unsigned threads, size_t buffers, size_t scratch);
void espalier_team_destroy(espalier_team *team);

/* Whether the team's threads live in this process. */
bool espalier_team_is_here(const espalier_team *team);

/* Calls the entry on all threads of the team; the code's last barrier ends the run. */
void espalier_team_run(espalier_team *team, const int64_t *sizes);

#endif
