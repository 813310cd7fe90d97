/* States: the last inputs and outputs of a model's code, which one run leaves for the next.

   Each has two places: a run reads from one and writes to the other, and they change when it ended well, so that a
   run that fails leaves the states as they were, and nothing is copied. */
#include <stdlib.h>
#include <string.h>

#include "model.h"

enum { ALIGNMENT = 64 };

/* Where states begin in model->inputs and model->outputs. */
static espalier_const_buffer *now_of(const espalier_model *model)
{
    return model->inputs + espalier_input_count(model);
}

static espalier_buffer *next_of(const espalier_model *model)
{
    return model->outputs + espalier_output_count(model);
}

size_t espalier_state_count(const espalier_model *model)
{
    return model == NULL ? 0 : model->description.state_count;
}

const espalier_tensor *espalier_state(const espalier_model *model, size_t index)
{
    return index < espalier_state_count(model) ? &model->description.tensors[espalier_input_count(model) + index] : NULL;
}

/* Bytes of a state's place, a multiple of the alignment; false where that is too much. */
static bool place_bytes(const espalier_tensor *tensor, size_t *bytes)
{
    const bool overflow = __builtin_add_overflow(tensor->bytes, ALIGNMENT - 1, bytes);
    *bytes -= *bytes % ALIGNMENT;
    return !overflow;
}

espalier_status espalier_states_make(espalier_model *model)
{
    const espalier_description *description = &model->description;
    const size_t count = description->state_count;
    size_t total = 0, bytes;
    bool fits = true;
    for (size_t i = 0; i < count; i++)
        fits = fits && place_bytes(espalier_state(model, i), &bytes) && !__builtin_add_overflow(total, bytes, &total);
    fits = fits && !__builtin_mul_overflow(total, 2, &total);
    model->inputs = calloc(description->input_count + 1, sizeof *model->inputs);
    model->outputs = calloc(description->output_count + 1, sizeof *model->outputs);
    model->states = fits ? espalier_zeroed(total) : NULL;
    if (model->inputs == NULL || model->outputs == NULL || model->states == NULL)
        return espalier_fail(model->message, ESPALIER_OUT_OF_MEMORY, "no memory for the model's states");
    uint8_t *place = model->states;
    for (size_t i = 0; i < count; i++) {
        const size_t own = espalier_state(model, i)->bytes;
        place_bytes(espalier_state(model, i), &bytes);
        now_of(model)[i] = (espalier_const_buffer){place, own};
        next_of(model)[i] = (espalier_buffer){place + bytes, own};
        place += 2 * bytes;
    }
    return espalier_reset(model);
}

void espalier_states_advance(espalier_model *model)
{
    for (size_t i = 0; i < model->description.state_count; i++) {
        void *const read = (void *)(uintptr_t)now_of(model)[i].data;
        now_of(model)[i].data = next_of(model)[i].data;
        next_of(model)[i].data = read;
    }
}

espalier_status espalier_reset(espalier_model *model)
{
    if (model == NULL)
        return ESPALIER_INVALID_ARGUMENT;
    for (size_t i = 0; i < model->description.state_count; i++) {
        espalier_npy array;
        const espalier_status status = espalier_record_read(model, "state", i, &array);
        if (status != ESPALIER_OK)
            return status;
        memcpy((void *)(uintptr_t)now_of(model)[i].data, array.data.data, now_of(model)[i].bytes);
    }
    return ESPALIER_OK;
}

/* Whether state `index` is there and `bytes` at `data` are it. */
static espalier_status check_state(espalier_model *model, size_t index, const void *data, size_t bytes)
{
    if (model == NULL)
        return ESPALIER_INVALID_ARGUMENT;
    const espalier_tensor *tensor = espalier_state(model, index);
    if (tensor == NULL || data == NULL)
        return espalier_fail(model->message, ESPALIER_INVALID_ARGUMENT, tensor == NULL
                             ? "the model has %zu states, found number %zu" : "one of %zu states, number %zu, is a null "
                             "pointer", espalier_state_count(model), index);
    if (bytes != tensor->bytes)
        return espalier_fail(model->message, ESPALIER_INVALID_ARGUMENT, "state '%.100s': expected %zu bytes, found %zu",
                             tensor->name, tensor->bytes, bytes);
    return ESPALIER_OK;
}

espalier_status espalier_get_state(espalier_model *model, size_t index, espalier_buffer value)
{
    const espalier_status status = check_state(model, index, value.data, value.bytes);
    if (status == ESPALIER_OK)
        memcpy(value.data, now_of(model)[index].data, value.bytes);
    return status;
}

espalier_status espalier_set_state(espalier_model *model, size_t index, espalier_const_buffer value)
{
    const espalier_status status = check_state(model, index, value.data, value.bytes);
    if (status == ESPALIER_OK)
        memcpy((void *)(uintptr_t)now_of(model)[index].data, value.data, value.bytes);
    return status;
}
