/* See team.h.

   A worker may still be leaving the code's last barrier when the run is over. That is harmless: it reads nothing
   of the team or of its buffers before the semaphore has let it through again. */
#define _POSIX_C_SOURCE 200809L
#include "team.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { STACK_BYTES = 1 << 20 }; /* musl would give 128 KiB */

static void *work(void *argument)
{
    espalier_worker *self = argument;
    espalier_team *team = self->team;
    for (;;) {
        while (sem_wait(&self->wake) != 0 && errno == EINTR)
            continue;
        if (team->stopping)
            return NULL;
        team->entry(self->buffers, team->sizes, self->number, team->count);
    }
}

static bool start(espalier_worker *worker)
{
    pthread_attr_t attributes;
    if (sem_init(&worker->wake, 0, 0) != 0)
        return false;
    if (pthread_attr_init(&attributes) == 0) {
        pthread_attr_setstacksize(&attributes, STACK_BYTES);
        worker->has_thread = pthread_create(&worker->thread, &attributes, work, worker) == 0;
        pthread_attr_destroy(&attributes);
    }
    if (!worker->has_thread)
        sem_destroy(&worker->wake);
    return worker->has_thread;
}

espalier_team *espalier_team_create(espalier_entry_fn entry, unsigned threads, size_t buffers, size_t scratch)
{
    espalier_team *team = calloc(1, sizeof *team);
    if (team == NULL || (team->workers = calloc(threads, sizeof *team->workers)) == NULL) {
        free(team);
        return NULL;
    }
    team->process = getpid();
    team->entry = entry;
    team->count = threads;
    for (unsigned i = 0; i < threads; i++) {
        espalier_worker *worker = &team->workers[i];
        worker->team = team;
        worker->number = i;
        worker->buffers = calloc(buffers, sizeof *worker->buffers);
        worker->scratch = espalier_zeroed(scratch);
        if (worker->buffers == NULL || worker->scratch == NULL || (i > 0 && !start(worker))) {
            espalier_team_destroy(team);
            return NULL;
        }
    }
    return team;
}

void espalier_team_destroy(espalier_team *team)
{
    if (team == NULL)
        return;
    const bool here = espalier_team_is_here(team);
    team->stopping = true;
    for (unsigned i = 0; i < team->count; i++) {
        espalier_worker *worker = &team->workers[i];
        if (worker->has_thread && here) {
            sem_post(&worker->wake);
            pthread_join(worker->thread, NULL);
            sem_destroy(&worker->wake);
        }
        free(worker->buffers);
        free(worker->scratch);
    }
    free(team->workers);
    free(team);
}

bool espalier_team_is_here(const espalier_team *team)
{
    return team->process == getpid();
}

void espalier_team_run(espalier_team *team, const int64_t *sizes)
{
    team->sizes = sizes;
    for (unsigned i = 1; i < team->count; i++)
        sem_post(&team->workers[i].wake);
    team->entry(team->workers[0].buffers, sizes, 0, team->count);
}
