/* A model's life: creating, asking, running, destroying. The interface is described in espalier.h. */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "model.h"

enum { ALIGNMENT = 64 };

/* ---- creating --------------------------------------------------------------------------------------------- */

espalier_status espalier_model_map(espalier_model *model, const char *path)
{
    const espalier_status status = espalier_map_file(path, &model->file, model->message);
    model->owner = status == ESPALIER_OK ? MAPPED : CALLERS;
    return status;
}

espalier_status espalier_model_take(espalier_model *model, const void *data, size_t bytes)
{
    model->file = (espalier_bytes){data, bytes};
    model->owner = CALLERS;
    if ((uintptr_t)data % ALIGNMENT == 0)
        return ESPALIER_OK;
    void *copy = espalier_zeroed(bytes);
    if (copy == NULL)
        return espalier_fail(model->message, ESPALIER_OUT_OF_MEMORY, "no memory for a copy of the model, %zu bytes",
                             bytes);
    memcpy(copy, data, bytes);
    model->file.data = copy;
    model->owner = COPIED;
    return ESPALIER_OK;
}

static espalier_status allocate(espalier_model *model)
{
    size_t stamps;
    const size_t count = model->description.input_count + model->description.output_count;
    if (!__builtin_mul_overflow(model->description.stamps, sizeof *model->stamps, &stamps)) {
        model->stamps = espalier_zeroed(stamps);
        model->failures = espalier_zeroed(sizeof *model->failures);
        model->buffers = calloc(count + BUFFER_KINDS, sizeof *model->buffers);
        model->sizes = calloc(model->description.free_count + 1, sizeof *model->sizes);
    }
    if (model->stamps == NULL || model->failures == NULL || model->buffers == NULL || model->sizes == NULL)
        return espalier_fail(model->message, ESPALIER_OUT_OF_MEMORY, "no memory for the model");
    espalier_status status = espalier_states_make(model);
    if (status == ESPALIER_OK)
        status = espalier_reserve(model, 1);
    return status == ESPALIER_OK ? espalier_set_threads(model, 1) : status;
}

espalier_status espalier_model_finish(espalier_model *model, espalier_status status, espalier_model **result,
                                      char *message, size_t message_bytes)
{
    if (status == ESPALIER_OK) {
        *result = model;
        return ESPALIER_OK;
    }
    if (message != NULL && message_bytes > 0)
        snprintf(message, message_bytes, "%s", model->message);
    espalier_destroy(model);
    return status;
}

espalier_model *espalier_model_start(const void *source, espalier_model **result, char *message, size_t message_bytes,
                                     espalier_status *status)
{
    espalier_model *model = NULL;
    char reason[ESPALIER_MESSAGE_BYTES];
    if (source == NULL || result == NULL)
        *status = espalier_fail(reason, ESPALIER_INVALID_ARGUMENT, "espalier_create: %s is null",
                                source == NULL ? "the model" : "result");
    else if ((model = calloc(1, sizeof *model)) == NULL)
        *status = espalier_fail(reason, ESPALIER_OUT_OF_MEMORY, "no memory for the model");
    if (result != NULL)
        *result = NULL;
    if (model != NULL)
        model->seconds = -1;
    else if (message != NULL && message_bytes > 0)
        snprintf(message, message_bytes, "%s", reason);
    return model;
}

/* Whether there is code to bring together with a file; `result` is null where not. */
static bool has_code(const espalier_code *code, espalier_model **result, char *message, size_t message_bytes)
{
    if (code != NULL && (code->abi != ESPALIER_ABI || (code->entry != NULL && code->buffers != NULL)))
        return true;
    if (result != NULL)
        *result = NULL;
    if (message != NULL && message_bytes > 0)
        snprintf(message, message_bytes, "espalier_create: code is null");
    return false;
}

static espalier_status finish(espalier_model *model, const espalier_code *code, espalier_status status,
                              espalier_model **result, char *message, size_t message_bytes)
{
    model->code = code;
    if (status == ESPALIER_OK)
        status = espalier_pair(model);
    if (status == ESPALIER_OK)
        status = allocate(model);
    return espalier_model_finish(model, status, result, message, message_bytes);
}

espalier_status espalier_create_from_file(const espalier_code *code, const char *path, espalier_model **model,
                                          char *message, size_t message_bytes)
{
    espalier_status status = ESPALIER_INVALID_ARGUMENT;
    if (!has_code(code, model, message, message_bytes))
        return status;
    espalier_model *made = espalier_model_start(path, model, message, message_bytes, &status);
    return made == NULL ? status
                        : finish(made, code, espalier_model_map(made, path), model, message, message_bytes);
}

espalier_status espalier_create_from_memory(const espalier_code *code, const void *data, size_t bytes,
                                            espalier_model **model, char *message, size_t message_bytes)
{
    espalier_status status = ESPALIER_INVALID_ARGUMENT;
    if (!has_code(code, model, message, message_bytes))
        return status;
    espalier_model *made = espalier_model_start(data, model, message, message_bytes, &status);
    return made == NULL ? status
                        : finish(made, code, espalier_model_take(made, data, bytes), model, message, message_bytes);
}

void espalier_destroy(espalier_model *model)
{
    if (model == NULL)
        return;
    if (model->engine != NULL)
        model->engine->destroy(model);
    espalier_team_destroy(model->team);
    espalier_description_free(&model->description);
    free(model->arena_block);
    free(model->failures);
    free(model->inputs);
    free(model->outputs);
    free(model->states);
    free(model->buffers);
    free(model->stamps);
    free(model->sizes);
    if (model->owner == MAPPED)
        munmap((void *)(uintptr_t)model->file.data, model->file.size);
    else if (model->owner == COPIED)
        free((void *)(uintptr_t)model->file.data);
    free(model);
}

/* ---- asking ----------------------------------------------------------------------------------------------- */

const char *espalier_last_error(const espalier_model *model)
{
    return model == NULL ? "the model is a null pointer" : model->message;
}

size_t espalier_input_count(const espalier_model *model)
{
    return model == NULL ? 0 : model->description.input_count - model->description.state_count;
}

size_t espalier_output_count(const espalier_model *model)
{
    return model == NULL ? 0 : model->description.output_count - model->description.state_count;
}

const espalier_tensor *espalier_input(const espalier_model *model, size_t index)
{
    return index < espalier_input_count(model) ? &model->description.tensors[index] : NULL;
}

const espalier_tensor *espalier_output(const espalier_model *model, size_t index)
{
    if (index >= espalier_output_count(model))
        return NULL;
    return &model->description.tensors[model->description.input_count + index];
}

const char *espalier_target(const espalier_model *model)
{
    return model == NULL ? "" : model->description.target;
}

/* Stamps are taken at the start and behind each statement, so there is one more than statements. */
size_t espalier_label_count(const espalier_model *model)
{
    return model == NULL || model->description.label_count == 0 ? 0 : model->description.label_count - 1;
}

const char *espalier_label(const espalier_model *model, size_t index)
{
    return index < espalier_label_count(model) ? model->description.texts[index + 1] : NULL;
}

/* ---- running ---------------------------------------------------------------------------------------------- */

/* Where each buffer stands among those that the entry takes. */
static espalier_layout layout_of(const espalier_model *model)
{
    const espalier_description *description = &model->description;
    espalier_layout layout = {.sizes = description->free_count, .cpus = model->cpus,
                              .scratch_bytes = (size_t)description->scratch * sizeof(float)};
    for (size_t at = 0; at < model->order_length; at++) {
        const espalier_buffer_kind kind = model->order[at];
        if (kind == SCRATCH)
            layout.scratch = layout.buffers;
        if (kind == TURN)
            layout.turn = layout.buffers;
        layout.buffers += kind == INPUTS ? description->input_count : kind == OUTPUTS ? description->output_count : 1;
    }
    return layout;
}

/* As many threads as asked for, 0 being one a fast processor, but no more than there are processors for them. */
static unsigned useful_threads(const espalier_model *model, unsigned threads)
{
    const unsigned cores = model->cpus.count > 0 ? model->cpus.count : espalier_cores();
    if (model->description.sequential)
        return 1;
    if (threads == 0)
        threads = espalier_fast_cores(&model->cpus);
    return threads < cores ? threads : cores;
}

/* A team of `threads` threads in the place of the one that there is. */
static espalier_status renew_team(espalier_model *model, unsigned threads)
{
    const espalier_layout layout = layout_of(model);
    espalier_team *team = NULL;
    if (model->description.scratch <= SIZE_MAX / sizeof(float))
        team = espalier_team_create(model->code->entry, threads, &layout);
    if (team == NULL)
        return espalier_fail(model->message, ESPALIER_OUT_OF_MEMORY, "the system gives no %u threads with %" PRIu64
                             " floats of scratch each", threads, model->description.scratch);
    espalier_team_destroy(model->team);
    model->team = team;
    return ESPALIER_OK;
}

espalier_status espalier_set_threads(espalier_model *model, unsigned threads)
{
    if (model == NULL)
        return ESPALIER_INVALID_ARGUMENT;
    if (threads > ESPALIER_MAX_THREADS)
        return espalier_fail(model->message, ESPALIER_INVALID_ARGUMENT, "expected at most %d threads, found %u",
                             ESPALIER_MAX_THREADS, threads);
    if (model->engine != NULL)
        return ESPALIER_OK;
    const unsigned useful = useful_threads(model, threads);
    if (model->team == NULL || espalier_team_threads(model->team) < useful || !espalier_team_is_here(model->team)) {
        const espalier_status status = renew_team(model, useful);
        if (status != ESPALIER_OK)
            return status;
    }
    model->threads = useful;
    return ESPALIER_OK;
}

espalier_status espalier_set_cpus(espalier_model *model, const unsigned *cpus, size_t count)
{
    if (model == NULL)
        return ESPALIER_INVALID_ARGUMENT;
    if (cpus == NULL && count > 0)
        return espalier_fail(model->message, ESPALIER_INVALID_ARGUMENT, "the list of processors is a null pointer");
    if (model->engine != NULL)
        return ESPALIER_OK;
    const espalier_cpus before = model->cpus;
    espalier_status status = espalier_cpus_of(cpus, count, &model->cpus, model->message);
    if (status == ESPALIER_OK)
        status = renew_team(model, espalier_team_threads(model->team));
    if (status != ESPALIER_OK)
        model->cpus = before;
    return status;
}

espalier_status espalier_reserve(espalier_model *model, int64_t steps)
{
    size_t bytes;
    if (model == NULL)
        return ESPALIER_INVALID_ARGUMENT;
    if (steps < 1)
        return espalier_fail(model->message, ESPALIER_INVALID_ARGUMENT, "expected at least one step, found %" PRId64,
                             steps);
    if (model->engine != NULL && steps > model->steps && model->description.free_count > 0)
        return espalier_fail(model->message, ESPALIER_NOT_RESERVED, "found %" PRId64 " steps, the model takes 1 to %" PRId64
                             "; compile it with an example of more", steps, model->steps);
    if (model->engine != NULL)
        return ESPALIER_OK;
    if (model->arena != NULL && (steps <= model->steps || model->description.free_count == 0))
        return ESPALIER_OK;
    void *arena = NULL, *block = NULL;
    if (!__builtin_mul_overflow(model->description.arena_per_step, (size_t)steps, &bytes)
        && !__builtin_add_overflow(model->description.arena, bytes, &bytes))
        arena = espalier_untouched(bytes, &block);
    if (arena == NULL)
        return espalier_fail(model->message, ESPALIER_OUT_OF_MEMORY, "no memory for the arena of %" PRId64 " steps",
                             steps);
    free(model->arena_block);
    model->arena_block = block;
    model->arena = arena;
    model->steps = steps;
    return ESPALIER_OK;
}

int64_t espalier_steps_of(const espalier_tensor *tensor, size_t bytes)
{
    return espalier_is_free(tensor) ? (int64_t)(bytes / tensor->bytes) : 1;
}

/* The steps that the first input with a free dimension has; 1 where there is none. */
static int64_t steps_in(const espalier_model *model, const espalier_const_buffer *inputs)
{
    for (size_t i = 0; i < espalier_input_count(model); i++)
        if (espalier_is_free(espalier_input(model, i)))
            return espalier_steps_of(espalier_input(model, i), inputs[i].bytes);
    return 1;
}

/* An input's size must fit exactly, an output's may be larger. */
static espalier_status check_buffer(espalier_model *model, const char *kind, const espalier_tensor *tensor,
                                    espalier_const_buffer buffer, int64_t steps)
{
    size_t expected = tensor->bytes;
    const bool exact = kind[0] == 'i';
    if (buffer.data == NULL)
        return espalier_fail(model->message, ESPALIER_INVALID_ARGUMENT, "%s '%.100s' is a null pointer", kind,
                             tensor->name);
    const bool overflow = espalier_is_free(tensor) && __builtin_mul_overflow(expected, (size_t)steps, &expected);
    if (overflow || buffer.bytes < expected || (exact && buffer.bytes != expected))
        return espalier_fail(model->message, ESPALIER_INVALID_ARGUMENT, "%s '%.100s': expected %s%zu bytes, found %zu",
                             kind, tensor->name, exact ? "" : "at least ", expected, buffer.bytes);
    if ((uintptr_t)buffer.data % espalier_dtype_bytes(tensor->dtype) != 0)
        return espalier_fail(model->message, ESPALIER_INVALID_ARGUMENT, "%s '%.100s' is not aligned to %zu bytes", kind,
                             tensor->name, espalier_dtype_bytes(tensor->dtype));
    return ESPALIER_OK;
}

static espalier_status check_buffers(espalier_model *model, const espalier_const_buffer *inputs,
                                     const espalier_buffer *outputs, int64_t steps)
{
    const espalier_description *description = &model->description;
    espalier_status status = ESPALIER_OK;
    if (steps < 1)
        return espalier_fail(model->message, ESPALIER_INVALID_ARGUMENT, "expected at least one step, found a shorter "
                             "input");
    for (size_t i = 0; i < espalier_input_count(model) && status == ESPALIER_OK; i++)
        status = check_buffer(model, "input", espalier_input(model, i), inputs[i], steps);
    for (size_t i = 0; i < espalier_output_count(model) && status == ESPALIER_OK; i++) {
        const espalier_const_buffer output = {outputs[i].data, outputs[i].bytes};
        status = check_buffer(model, "output", espalier_output(model, i), output, steps);
    }
    if (status == ESPALIER_OK && description->free_count > 0 && steps > model->steps)
        return espalier_fail(model->message, ESPALIER_NOT_RESERVED, "found %" PRId64 " steps, room for %" PRId64
                             "; call espalier_reserve first", steps, model->steps);
    return status;
}

/* What all threads are given alike; null for the kinds that are not one buffer. */
static void *shared_buffer(const espalier_model *model, espalier_buffer_kind kind)
{
    switch (kind) {
    case WEIGHTS: return (void *)(uintptr_t)model->weights.data; /* the code only reads them */
    case FAILURES: return model->failures;
    case STAMPS: return model->stamps;
    case ARENA: return model->arena;
    case INPUTS:
    case OUTPUTS:
    case SCRATCH:
    case TURN:
    case BUFFER_KINDS: break;
    }
    return NULL;
}

/* The entry's buffers; the team fills in what is each thread's own. */
static void place_buffers(espalier_model *model)
{
    void **slot = model->buffers;
    for (size_t at = 0; at < model->order_length; at++) {
        const espalier_buffer_kind kind = model->order[at];
        for (size_t i = 0; kind == INPUTS && i < model->description.input_count; i++)
            *slot++ = (void *)(uintptr_t)model->inputs[i].data; /* the code only reads them */
        for (size_t i = 0; kind == OUTPUTS && i < model->description.output_count; i++)
            *slot++ = model->outputs[i].data;
        if (kind != INPUTS && kind != OUTPUTS)
            *slot++ = shared_buffer(model, kind);
    }
}

/* What the failed assertion says. */
static espalier_status report_failure(espalier_model *model)
{
    const espalier_description *description = &model->description;
    const size_t number = (size_t)*model->failures - 1;
    const char *text = number < description->message_count ? description->texts[description->label_count + number]
                                                           : "an unknown assertion failed";
    return espalier_fail(model->message, ESPALIER_MODEL_FAILED, "the model stopped: %.200s", text);
}

/* A run on model->inputs, which fit. */
static espalier_status run_code(espalier_model *model, int64_t steps)
{
    if (!espalier_team_is_here(model->team)) { /* in a child of fork */
        const espalier_status started = espalier_set_threads(model, model->threads);
        if (started != ESPALIER_OK)
            return started;
    }
    for (size_t i = 0; i < model->description.free_count; i++)
        model->sizes[i] = steps;
    place_buffers(model);
    *model->failures = 0;
    const double begin = espalier_now();
    espalier_team_run(model->team, model->threads, model->buffers, model->sizes);
    model->seconds = espalier_now() - begin;
    return *model->failures == 0 ? ESPALIER_OK : report_failure(model);
}

espalier_status espalier_run(espalier_model *model, const espalier_const_buffer *inputs, size_t input_count,
                             const espalier_buffer *outputs, size_t output_count)
{
    if (model == NULL)
        return ESPALIER_INVALID_ARGUMENT;
    if (input_count != espalier_input_count(model) || output_count != espalier_output_count(model))
        return espalier_fail(model->message, ESPALIER_INVALID_ARGUMENT, "expected %zu inputs and %zu outputs, found %zu "
                             "and %zu", espalier_input_count(model), espalier_output_count(model), input_count,
                             output_count);
    if ((inputs == NULL && input_count > 0) || (outputs == NULL && output_count > 0))
        return espalier_fail(model->message, ESPALIER_INVALID_ARGUMENT, "the list of %s is a null pointer",
                             inputs == NULL && input_count > 0 ? "inputs" : "outputs");
    const int64_t steps = steps_in(model, inputs);
    espalier_status status = check_buffers(model, inputs, outputs, steps);
    if (status != ESPALIER_OK)
        return status;
    for (size_t i = 0; i < input_count; i++)
        model->inputs[i] = inputs[i];
    for (size_t i = 0; i < output_count; i++)
        model->outputs[i] = outputs[i];
    status = model->engine != NULL ? model->engine->run(model) : run_code(model, steps);
    if (status == ESPALIER_OK)
        espalier_states_advance(model);
    return status;
}

espalier_status espalier_profile(espalier_model *model, double *seconds, size_t count)
{
    if (model == NULL)
        return ESPALIER_INVALID_ARGUMENT;
    if (seconds == NULL || count != espalier_label_count(model))
        return espalier_fail(model->message, ESPALIER_INVALID_ARGUMENT, "espalier_profile: expected room for %zu "
                             "times, found %zu", espalier_label_count(model), seconds == NULL ? 0 : count);
    if (model->seconds < 0)
        return espalier_fail(model->message, ESPALIER_INVALID_ARGUMENT, "espalier_profile: the model has not run yet");
    if (model->engine != NULL)
        return model->engine->profile(model, seconds);
    const double total = count == 0 ? 0 : (double)(model->stamps[count] - model->stamps[0]);
    for (size_t i = 0; i < count; i++) {
        const double ticks = (double)(model->stamps[i + 1] - model->stamps[i]);
        seconds[i] = total > 0 ? model->seconds * ticks / total : 0;
    }
    return ESPALIER_OK;
}
