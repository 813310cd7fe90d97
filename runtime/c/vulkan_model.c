/* See vulkan.h: a model file on a GPU, behind the interface of espalier.h. */
#include <stdlib.h>
#include <string.h>

#include "archive.h"
#include "digest.h"
#include "model.h"
#include "vulkan_code.h"

static const char TARGET[] = "vulkan";

/* What such a model holds beside its description. */
typedef struct {
    espalier_gpu_program *program;
    espalier_buffer *outputs; /* as large as the program writes: a caller's may be larger */
} state;

static espalier_status run(espalier_model *model)
{
    state *own = model->state;
    const double begin = espalier_now();
    const espalier_tensor *tensors = model->description.tensors;
    size_t steps = 1;
    for (size_t i = 0; i < model->description.input_count; i++)
        if (espalier_is_free(&tensors[i]))
            steps = (size_t)espalier_steps_of(&tensors[i], model->inputs[i].bytes);
    for (size_t i = 0; i < model->description.output_count; i++) {
        const espalier_tensor *output = &tensors[model->description.input_count + i];
        own->outputs[i] =
            (espalier_buffer){model->outputs[i].data, output->bytes * (espalier_is_free(output) ? steps : 1)};
    }
    const espalier_status status =
        espalier_gpu_program_run(own->program, model->inputs, model->description.input_count, own->outputs,
                                 model->description.output_count, model->message, sizeof model->message);
    if (status == ESPALIER_OK)
        model->seconds = espalier_now() - begin;
    return status;
}

static espalier_status profile(espalier_model *model, double *seconds)
{
    state *own = model->state;
    return espalier_gpu_program_times(own->program, seconds, espalier_label_count(model), model->message,
                                      sizeof model->message);
}

static void destroy(espalier_model *model)
{
    state *own = model->state;
    if (own != NULL) {
        espalier_gpu_program_destroy(own->program);
        free(own->outputs);
    }
    free(own);
}

static const espalier_engine ENGINE = {run, profile, destroy};

/* Whether a tensor is as the program has it. */
static bool is_same(const espalier_tensor *tensor, const espalier_gpu_range *range, uint32_t most_steps, uint32_t is_free)
{
    const bool free = espalier_is_free(tensor);
    return free == (is_free != 0) && tensor->bytes * (free ? (uint64_t)most_steps : 1) == range->bytes;
}

/* The tensors that the description promises are those of the program. */
static espalier_status check_tensors(espalier_model *model, const espalier_gpu_description *what)
{
    const espalier_description *description = &model->description;
    bool same = description->input_count == what->input_count && description->output_count == what->output_count &&
                espalier_label_count(model) == what->dispatch_count;
    for (size_t i = 0; same && i < what->input_count + what->output_count; i++)
        same = is_same(&description->tensors[i],
                       i < what->input_count ? &what->inputs[i] : &what->outputs[i - what->input_count],
                       what->most_steps, what->most_steps > 0 ? what->free[i] : 0);
    model->steps = what->most_steps;
    if (!same)
        return espalier_fail(model->message, ESPALIER_DAMAGED, "the model file is damaged: its program has other inputs, "
                             "outputs or dispatches than its description");
    return ESPALIER_OK;
}

/* The weights that the code was compiled with, and no others: they hold tables by which kernels read. */
static espalier_status take_weights(espalier_model *model, espalier_vulkan_code *code)
{
    uint8_t digest[ESPALIER_DIGEST_BYTES];
    const espalier_status status = espalier_archive_read(model->file, "weights", &model->weights, model->message);
    if (status != ESPALIER_OK)
        return status;
    espalier_digest(model->weights, digest);
    if (memcmp(digest, code->digest, sizeof digest) != 0)
        return espalier_fail(model->message, ESPALIER_MISMATCH, "the model file's weights are not those that the code was "
                             "compiled with");
    code->description.weights = model->weights.data;
    code->description.weight_bytes = model->weights.size;
    return ESPALIER_OK;
}

static espalier_status make(espalier_model *model, espalier_gpu *gpu, espalier_bytes code)
{
    espalier_vulkan_code read;
    state *own = calloc(1, sizeof *own);
    model->state = own;
    model->engine = &ENGINE;
    if (own != NULL)
        own->outputs = calloc(model->description.output_count + 1, sizeof *own->outputs);
    if (own == NULL || own->outputs == NULL)
        return espalier_fail(model->message, ESPALIER_OUT_OF_MEMORY, "no memory for the model");
    espalier_status status = espalier_vulkan_code_read(code, &read, model->message);
    if (status == ESPALIER_OK)
        status = espalier_states_make(model);
    if (status == ESPALIER_OK)
        status = take_weights(model, &read);
    if (status == ESPALIER_OK)
        status = check_tensors(model, &read.description);
    if (status == ESPALIER_OK)
        status = espalier_gpu_program_create(gpu, &read.description, &own->program, model->message,
                                             sizeof model->message);
    espalier_vulkan_code_free(&read);
    return status;
}

static espalier_status read_members(espalier_model *model, espalier_bytes *code)
{
    espalier_bytes member;
    espalier_status status = espalier_archive_check(model->file, model->message);
    if (status != ESPALIER_OK
        || (status = espalier_archive_read(model->file, "abi", &member, model->message)) != ESPALIER_OK
        || (status = espalier_description_read(member, &model->description, model->message)) != ESPALIER_OK)
        return status;
    if (strncmp(model->description.target, TARGET, sizeof TARGET - 1) != 0)
        return espalier_fail(model->message, ESPALIER_MISMATCH, "the model is compiled for %.80s, not for a GPU; compile "
                             "it with --target vulkan", model->description.target);
    return espalier_archive_read(model->file, "code", code, model->message);
}

static espalier_status finish(espalier_model *model, espalier_gpu *gpu, espalier_status status,
                              espalier_model **result, char *message, size_t message_bytes)
{
    espalier_bytes code = {NULL, 0};
    if (status == ESPALIER_OK && gpu == NULL)
        status = espalier_fail(model->message, ESPALIER_INVALID_ARGUMENT, "espalier_create: the gpu is null");
    if (status == ESPALIER_OK)
        status = read_members(model, &code);
    if (status == ESPALIER_OK)
        status = make(model, gpu, code);
    return espalier_model_finish(model, status, result, message, message_bytes);
}

espalier_status espalier_create_from_file_on(espalier_gpu *gpu, const char *path, espalier_model **model,
                                             char *message, size_t message_bytes)
{
    espalier_status status = ESPALIER_OK;
    espalier_model *made = espalier_model_start(path, model, message, message_bytes, &status);
    return made == NULL ? status : finish(made, gpu, espalier_model_map(made, path), model, message, message_bytes);
}

espalier_status espalier_create_from_memory_on(espalier_gpu *gpu, const void *data, size_t bytes,
                                               espalier_model **model, char *message, size_t message_bytes)
{
    espalier_status status = ESPALIER_OK;
    espalier_model *made = espalier_model_start(data, model, message, message_bytes, &status);
    return made == NULL ? status
                        : finish(made, gpu, espalier_model_take(made, data, bytes), model, message, message_bytes);
}
