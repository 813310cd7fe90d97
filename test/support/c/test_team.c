/* The team under random delays: many runs of a chain of dependent statements, of which each value must come out exactly.

       test_team THREADS RUNS SEED

   Built with -DESPALIER_TEAM_DELAY=test_delay (and -fsanitize=thread where there is one). */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "team.h"

enum { ITEMS = 37, STEPS = 5, LAYERS = 4 };

void ESPALIER_TEAM_DELAY(void);

static uint64_t seed;

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* Mostly nothing; else a turn of the scheduler, or some microseconds' sleep. */
void ESPALIER_TEAM_DELAY(void)
{
    static __thread uint64_t state;
    if (state == 0)
        state = __atomic_add_fetch(&seed, 0x9e3779b97f4a7c15u, __ATOMIC_RELAXED);
    const uint64_t draw = next_random(&state) % 64;
    if (draw < 4) {
        sched_yield();
    } else if (draw == 4) {
        const struct timespec pause = {0, (long)(next_random(&state) % 50000)};
        nanosleep(&pause, NULL);
    }
}

/* buffers: scratch (a value of the thread's own), turn, data [2][ITEMS]; sizes: how many steps. Item i of a layer is made
   of items i and i + 1 of the layer before, so a chunk that runs early or twice shows. A worker that comes late must find
   nothing to do: the buffers are the next run's by then, or gone. */
static void entry(void *const *buffers, const int64_t *sizes, int64_t thread, int64_t threads)
{
    uint64_t *scratch = buffers[0];
    espalier_turn *turn = buffers[1];
    uint64_t *data = buffers[2];
    (void)thread, (void)threads;
    for (int64_t layer = 0; layer < sizes[0] * LAYERS; layer++) {
        const uint64_t *from = data + (layer % 2) * ITEMS;
        uint64_t *to = data + (1 - layer % 2) * ITEMS;
        turn->wait(turn);
        for (turn->claim(turn, ITEMS); turn->begin < turn->end; turn->claim(turn, ITEMS))
            for (int64_t i = turn->begin; i < turn->end; i++) {
                *scratch = from[i] * 31 + from[(i + 1) % ITEMS];
                ESPALIER_TEAM_DELAY();
                to[i] = *scratch + (uint64_t)layer;
            }
        turn->claim(turn, 0); /* a statement of nothing */
    }
    turn->wait(turn);
}

static void expected(uint64_t *data, int64_t layers)
{
    for (int64_t layer = 0; layer < layers; layer++) {
        const uint64_t *from = data + (layer % 2) * ITEMS;
        uint64_t *to = data + (1 - layer % 2) * ITEMS;
        for (int64_t i = 0; i < ITEMS; i++)
            to[i] = from[i] * 31 + from[(i + 1) % ITEMS] + (uint64_t)layer;
    }
}

static int one_run(espalier_team *team, unsigned threads, uint64_t *state)
{
    const int64_t steps = 1 + (int64_t)(next_random(state) % STEPS);
    uint64_t *found = malloc(2 * ITEMS * sizeof *found), *right = malloc(2 * ITEMS * sizeof *right);
    int wrong = 0;
    for (int i = 0; i < 2 * ITEMS; i++)
        found[i] = right[i] = next_random(state);
    void *const buffers[] = {NULL, NULL, found};
    espalier_team_run(team, 1 + (unsigned)(next_random(state) % threads), buffers, &steps);
    expected(right, steps * LAYERS);
    for (int i = 0; i < 2 * ITEMS; i++)
        wrong += found[i] != right[i];
    free(found);
    free(right);
    return wrong;
}

int main(int count, char **arguments)
{
    const espalier_layout layout = {.buffers = 3, .scratch = 0, .turn = 1, .sizes = 1, .scratch_bytes = 64};
    if (count != 4)
        return 2;
    const unsigned threads = (unsigned)atoi(arguments[1]), runs = (unsigned)atoi(arguments[2]);
    uint64_t state = (uint64_t)atoi(arguments[3]);
    seed = state;
    espalier_team *team = NULL;
    for (unsigned run = 0; run < runs; run++) {
        if (run % 100 == 0) { /* workers that are asleep, awake or inside a run must all come home */
            espalier_team_destroy(team);
            team = espalier_team_create(entry, threads, &layout);
        }
        if (team == NULL || one_run(team, threads, &state) != 0) {
            printf("run %u: %s\n", run, team == NULL ? "no team" : "wrong values");
            return 1;
        }
    }
    espalier_team_destroy(team);
    return 0;
}
