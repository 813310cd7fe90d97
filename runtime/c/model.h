/* A model as the runtime's own files see it. */
#ifndef ESPALIER_MODEL_H
#define ESPALIER_MODEL_H

#include "description.h"
#include "npy.h"
#include "team.h"

/* What an entry takes; the names that code calls them by are in espalier.c. */
typedef enum espalier_buffer_kind {
    INPUTS, SCRATCH, OUTPUTS, WEIGHTS, FAILURES, TURN, STAMPS, ARENA, BUFFER_KINDS
} espalier_buffer_kind;

/* How a model runs whose code is no function: on a GPU (vulkan_model.c). */
typedef struct espalier_engine {
    espalier_status (*run)(espalier_model *model); /* on its inputs and outputs */
    espalier_status (*profile)(espalier_model *model, double *seconds); /* of each label */
    void (*destroy)(espalier_model *model);
} espalier_engine;

struct espalier_model {
    const espalier_code *code;     /* null where there is an engine */
    const espalier_engine *engine; /* null where there is code */
    void *state;                   /* the engine's */
    espalier_bytes file;
    char folder[24]; /* what the names of this batch's members begin with */
    enum { CALLERS, MAPPED, COPIED } owner; /* of the file's bytes */
    espalier_description description;
    espalier_buffer_kind order[BUFFER_KINDS]; /* of the entry's buffers */
    size_t order_length;
    espalier_bytes weights;
    void *arena, *arena_block; /* where it begins, and what was allocated */
    int32_t *failures;
    int64_t *stamps;
    int64_t *sizes;  /* what the free dimensions are in this run */
    int64_t steps;   /* how many steps the arena has room for */
    espalier_const_buffer *inputs; /* of a run: the caller's, then the states */
    espalier_buffer *outputs;
    void *states;    /* the memory of all states, twice (states.c) */
    void **buffers;  /* what the entry takes, but for each thread's own */
    espalier_team *team;
    unsigned threads; /* how many of the team's threads a run uses */
    espalier_cpus cpus; /* where the model's own threads run */
    double seconds;  /* that the last run took; negative before the first */
    char message[ESPALIER_MESSAGE_BYTES];
};

/* Takes the file's description and weights, once they are found to belong to the code. */
espalier_status espalier_pair(espalier_model *model);

/* The states' memory with their initial values, and what a run is given beside the caller's buffers. */
espalier_status espalier_states_make(espalier_model *model);

/* A run has ended well: what it wrote is what the next one reads. */
void espalier_states_advance(espalier_model *model);

/* For those who make models: an empty one, or null and a message (`source`: what it is made from, not null); the
   file's bytes; and the end, which hands the model over or destroys it and keeps its message. */
espalier_model *espalier_model_start(const void *source, espalier_model **result, char *message, size_t message_bytes,
                                     espalier_status *status);
espalier_status espalier_model_map(espalier_model *model, const char *path);
espalier_status espalier_model_take(espalier_model *model, const void *data, size_t bytes);
espalier_status espalier_model_finish(espalier_model *model, espalier_status status, espalier_model **result,
                                      char *message, size_t message_bytes);

/* Input or output ("input", "output": `kind`) number `index` of the recorded run, where it lies in the file. */
espalier_status espalier_record_read(espalier_model *model, const char *kind, size_t index, espalier_npy *array);

/* The number of steps for which the input's free dimension has `bytes`; 1 where none is free. */
int64_t espalier_steps_of(const espalier_tensor *tensor, size_t bytes);

#endif
