/* Whether a model file and its code belong together: the code's word counts, the file is not believed. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "archive.h"
#include "digest.h"
#include "model.h"

/* As espalier/entry.py names them. */
static const char *const NAMES[BUFFER_KINDS] = {
    [INPUTS] = "inputs", [SCRATCH] = "scratch", [OUTPUTS] = "outputs", [WEIGHTS] = "weights",
    [FAILURES] = "failures", [TURN] = "turn", [STAMPS] = "stamps", [ARENA] = "arena"};

/* The description of part `number` of the file, which has one for each batch size. */
static espalier_status read_part(espalier_model *model, size_t number)
{
    char name[40];
    espalier_bytes member;
    if (number > 0)
        snprintf(model->folder, sizeof model->folder, "%zu/", number);
    snprintf(name, sizeof name, "%sabi", model->folder);
    const espalier_status status = espalier_archive_read(model->file, name, &member, model->message);
    return status != ESPALIER_OK ? status : espalier_description_read(member, &model->description, model->message);
}

static bool has_part(const espalier_model *model, size_t number)
{
    char name[40];
    snprintf(name, sizeof name, "%zu/abi", number);
    return espalier_archive_holds(model->file, name);
}

/* The description that is the code's; where there is none, the last one. */
static espalier_status read_description(espalier_model *model)
{
    const espalier_code *code = model->code;
    espalier_status status = read_part(model, 0);
    for (size_t number = 1; status == ESPALIER_OK && has_part(model, number)
         && memcmp(code->fingerprint, model->description.fingerprint, sizeof code->fingerprint) != 0; number++) {
        espalier_description_free(&model->description);
        status = read_part(model, number);
    }
    return status;
}

/* File and code must come from one compilation. */
static espalier_status check_pair(espalier_model *model)
{
    const espalier_code *code = model->code;
    const char *found = model->description.fingerprint;
    if (code->abi != ESPALIER_ABI)
        return espalier_fail(model->message, ESPALIER_VERSION, "the code has ABI version %" PRIu32 ", this runtime "
                             "version %u; compile the model again", code->abi, ESPALIER_ABI);
    if (memcmp(code->fingerprint, found, sizeof code->fingerprint) != 0)
        return espalier_fail(model->message, ESPALIER_MISMATCH, "the model file (%.80s, fingerprint %.32s) belongs to "
                             "other code than this (fingerprint %.32s)", model->description.target, found,
                             code->fingerprint);
    return ESPALIER_OK;
}

/* The order of the buffers, as the code gives it. */
static espalier_status read_order(espalier_model *model)
{
    for (const char *word = model->code->buffers; *word != 0;) {
        const size_t length = strcspn(word, " ");
        size_t kind = 0;
        while (kind < BUFFER_KINDS && (strlen(NAMES[kind]) != length || memcmp(NAMES[kind], word, length) != 0))
            kind++;
        if (kind == BUFFER_KINDS || model->order_length == BUFFER_KINDS)
            return espalier_fail(model->message, ESPALIER_VERSION, "the code takes a buffer '%.40s' that this runtime "
                                 "does not know; build both with one version", word);
        model->order[model->order_length++] = (espalier_buffer_kind)kind;
        word += length + strspn(word + length, " ");
    }
    return ESPALIER_OK;
}

/* The code knows what it needs; what the file says must be the same. */
static espalier_status check_sizes(espalier_model *model)
{
    const espalier_code *code = model->code;
    const espalier_description *file = &model->description;
    const struct {
        const char *name;
        uint64_t said, needed;
    } pairs[] = {
        {"arena", file->arena, code->arena}, {"arena a step", file->arena_per_step, code->arena_per_step},
        {"scratch", file->scratch, code->scratch}, {"stamps", file->stamps, code->stamps},
        {"weights", file->weights, code->weights}, {"inputs", file->input_count, code->input_count},
        {"outputs", file->output_count, code->output_count}, {"messages", file->message_count, code->message_count},
        {"sequential", file->sequential, (code->flags & ESPALIER_SEQUENTIAL) != 0}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (pairs[i].said != pairs[i].needed)
            return espalier_fail(model->message, ESPALIER_DAMAGED, "the model file is damaged: it says %s %" PRIu64
                                 ", the code has %" PRIu64, pairs[i].name, pairs[i].said, pairs[i].needed);
    return ESPALIER_OK;
}

static espalier_status check_types(espalier_model *model)
{
    const size_t count = model->description.input_count + model->description.output_count;
    for (size_t i = 0; i < count; i++) {
        const espalier_tensor *said = &model->description.tensors[i];
        const espalier_type *type = &model->code->tensors[i];
        bool same = said->dtype == (espalier_dtype)type->dtype && said->rank == type->rank;
        for (uint32_t k = 0; same && k < said->rank; k++)
            same = said->dims[k] == type->dims[k];
        if (!same)
            return espalier_fail(model->message, ESPALIER_DAMAGED, "the model file is damaged: '%.100s' (tensor %zu) has "
                                 "another shape or dtype there than in the code", said->name, i);
    }
    return ESPALIER_OK;
}

/* The weights that the code was compiled with, and no others: they hold tables by which it reads. */
static espalier_status take_weights(espalier_model *model)
{
    uint8_t digest[ESPALIER_DIGEST_BYTES];
    espalier_bytes *weights = &model->weights;
    espalier_status status = espalier_archive_find(model->file, "weights", weights, model->message);
    if (status != ESPALIER_OK)
        return status;
    if (weights->size >= model->code->weights) {
        weights->size = model->code->weights; /* behind them come those of other batch sizes alone */
        espalier_digest(*weights, digest);
        if (memcmp(digest, model->code->digest, sizeof digest) == 0)
            return ESPALIER_OK;
    }
    if ((status = espalier_archive_read(model->file, "weights", weights, model->message)) != ESPALIER_OK)
        return status; /* an accident, as the checksum tells */
    if (weights->size < model->code->weights)
        return espalier_fail(model->message, ESPALIER_DAMAGED, "the model file is damaged: expected %" PRIu64 " bytes "
                             "of weights, found %zu", model->code->weights, weights->size);
    return espalier_fail(model->message, ESPALIER_MISMATCH, "the model file's weights are not those that the code was "
                         "compiled with");
}

espalier_status espalier_pair(espalier_model *model)
{
    espalier_status status = espalier_archive_check(model->file, model->message);
    if (status != ESPALIER_OK
        || (status = read_description(model)) != ESPALIER_OK
        || (status = check_pair(model)) != ESPALIER_OK
        || (status = read_order(model)) != ESPALIER_OK
        || (status = check_sizes(model)) != ESPALIER_OK
        || (status = check_types(model)) != ESPALIER_OK)
        return status;
    return take_weights(model);
}
