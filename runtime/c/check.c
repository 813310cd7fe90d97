/* espalier_check: the recorded run once more, on this machine. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive.h"
#include "model.h"

/* Runs of the recorded sequence: with states the second one reads what the first one left. */
enum { RUNS = 2 };

/* The tensor that array `index` of a kind is one of: recorded outputs are those of all runs, each with its states. */
static const espalier_tensor *tensor_of(const espalier_model *model, const char *kind, size_t index)
{
    const espalier_description *description = &model->description;
    if (kind[0] == 'i')
        return espalier_input(model, index);
    if (kind[0] == 's')
        return espalier_state(model, index);
    return &description->tensors[description->input_count + index % description->output_count];
}

espalier_status espalier_record_read(espalier_model *model, const char *kind, size_t index, espalier_npy *array)
{
    const espalier_tensor *tensor = tensor_of(model, kind, index);
    char name[64], reason[ESPALIER_MESSAGE_BYTES];
    espalier_bytes member;
    snprintf(name, sizeof name, "%s%s_%zu.npy", model->folder, kind, index);
    if (!espalier_archive_holds(model->file, name))
        return kind[0] == 's'
            ? espalier_fail(model->message, ESPALIER_DAMAGED, "the model file is damaged: it has no member '%s'", name)
            : espalier_fail(model->message, ESPALIER_NO_RECORD, "the model file holds no recorded run (no member "
                            "'%s'); compile it with example inputs", name);
    espalier_status status = espalier_archive_read(model->file, name, &member, model->message);
    if (status != ESPALIER_OK)
        return status;
    if ((status = espalier_npy_read(member, array, reason)) != ESPALIER_OK)
        return espalier_fail(model->message, status, "member '%s': %.180s", name, reason);
    if (!espalier_npy_fits(array, tensor))
        return espalier_fail(model->message, ESPALIER_DAMAGED, "member '%s' has another shape or dtype than the "
                             "model's '%.100s'", name, tensor->name);
    return ESPALIER_OK;
}

/* IEEE 754 binary16. */
static double read_half(const uint8_t *at)
{
    const int bits = at[0] | at[1] << 8, exponent = bits >> 10 & 31, fraction = bits & 1023;
    double value = exponent == 0 ? ldexp(fraction, -24) : ldexp(fraction + 1024, exponent - 25);
    if (exponent == 31)
        value = fraction == 0 ? HUGE_VAL : nan("");
    return bits >> 15 ? -value : value;
}

#define READ_AS(type)                      \
    do {                                   \
        type value;                        \
        memcpy(&value, at, sizeof value);  \
        return (double)value;              \
    } while (0)

static double read_element(espalier_dtype dtype, const uint8_t *at)
{
    switch (dtype) {
    case ESPALIER_FLOAT32: READ_AS(float);
    case ESPALIER_FLOAT64: READ_AS(double);
    case ESPALIER_FLOAT16: return read_half(at);
    case ESPALIER_INT8: READ_AS(int8_t);
    case ESPALIER_INT16: READ_AS(int16_t);
    case ESPALIER_INT32: READ_AS(int32_t);
    case ESPALIER_INT64: READ_AS(int64_t);
    case ESPALIER_UINT8:
    case ESPALIER_BOOL: READ_AS(uint8_t);
    case ESPALIER_UINT16: READ_AS(uint16_t);
    case ESPALIER_UINT32: READ_AS(uint32_t);
    case ESPALIER_UINT64: READ_AS(uint64_t);
    }
    return nan("");
}

/* Largest difference over the largest finite expected value. */
static double error_of(espalier_dtype dtype, const uint8_t *found, const uint8_t *expected, size_t bytes)
{
    const size_t step = espalier_dtype_bytes(dtype);
    double difference = 0, largest = 1e-30;
    for (size_t at = 0; at < bytes; at += step) {
        const double a = read_element(dtype, found + at), b = read_element(dtype, expected + at);
        if (isfinite(a) && isfinite(b)) {
            difference = fmax(difference, fabs(a - b));
            largest = fmax(largest, fabs(b));
        } else if (!(isnan(a) && isnan(b)) && !(a == b)) {
            return HUGE_VAL;
        }
    }
    return difference / largest;
}

/* Memory of one check: the recorded arrays and what the model makes of them. Outputs of all runs are one list, those
   of a run followed by its states; `kept`: the model's own states. */
typedef struct replay {
    espalier_const_buffer *inputs;
    espalier_buffer *outputs;
    espalier_npy *expected;
    espalier_buffer *kept;
    size_t count; /* of outputs */
} replay;

static espalier_status prepare_input(espalier_model *model, size_t index, replay *it)
{
    const espalier_tensor *tensor = espalier_input(model, index);
    espalier_npy array;
    const espalier_status status = espalier_record_read(model, "input", index, &array);
    if (status != ESPALIER_OK)
        return status;
    it->inputs[index] = (espalier_const_buffer){array.data.data, array.data.size};
    return espalier_is_free(tensor) ? espalier_reserve(model, espalier_steps_of(tensor, array.data.size)) : ESPALIER_OK;
}

static espalier_status make_buffer(espalier_model *model, espalier_buffer *buffer, size_t bytes)
{
    *buffer = (espalier_buffer){espalier_zeroed(bytes), bytes};
    return buffer->data != NULL ? ESPALIER_OK
                                : espalier_fail(model->message, ESPALIER_OUT_OF_MEMORY, "no memory for the check");
}

static espalier_status prepare(espalier_model *model, replay *it)
{
    espalier_status status = ESPALIER_OK;
    for (size_t i = 0; i < espalier_input_count(model) && status == ESPALIER_OK; i++)
        status = prepare_input(model, i, it);
    for (size_t i = 0; i < it->count && status == ESPALIER_OK; i++)
        if ((status = espalier_record_read(model, "output", i, &it->expected[i])) == ESPALIER_OK)
            status = make_buffer(model, &it->outputs[i], it->expected[i].data.size);
    for (size_t i = 0; i < espalier_state_count(model) && status == ESPALIER_OK; i++)
        if ((status = make_buffer(model, &it->kept[i], espalier_state(model, i)->bytes)) == ESPALIER_OK)
            status = espalier_get_state(model, i, it->kept[i]);
    return status;
}

/* The recorded runs, from the initial states; then the model has its own states again. */
static espalier_status run_all(espalier_model *model, const replay *it)
{
    const size_t inputs = espalier_input_count(model), outputs = espalier_output_count(model);
    const size_t states = espalier_state_count(model);
    espalier_status status = espalier_reset(model);
    for (size_t at = 0; at < it->count && status == ESPALIER_OK; at += outputs + states) {
        status = espalier_run(model, it->inputs, inputs, it->outputs + at, outputs);
        for (size_t i = 0; i < states && status == ESPALIER_OK; i++)
            status = espalier_get_state(model, i, it->outputs[at + outputs + i]);
    }
    for (size_t i = 0; i < states; i++)
        espalier_set_state(model, i, (espalier_const_buffer){it->kept[i].data, it->kept[i].bytes});
    return status;
}

static espalier_status compare(espalier_model *model, const replay *it, double *error)
{
    *error = 0;
    for (size_t i = 0; i < it->count; i++) {
        const espalier_npy *array = &it->expected[i];
        *error = fmax(*error, error_of(array->dtype, it->outputs[i].data, array->data.data, array->data.size));
    }
    if (*error <= model->description.tolerance)
        return ESPALIER_OK;
    return espalier_fail(model->message, ESPALIER_DIFFERS, "the outputs differ from the recorded ones by %.1e of the "
                         "largest output (allowed: %.0e)", *error, model->description.tolerance);
}

static void release(replay *it, size_t states)
{
    for (size_t i = 0; it->outputs != NULL && i < it->count; i++)
        free(it->outputs[i].data);
    for (size_t i = 0; it->kept != NULL && i < states; i++)
        free(it->kept[i].data);
    free(it->inputs);
    free(it->outputs);
    free(it->expected);
    free(it->kept);
}

espalier_status espalier_check(espalier_model *model, double *error)
{
    if (model == NULL)
        return ESPALIER_INVALID_ARGUMENT;
    const size_t states = espalier_state_count(model);
    const size_t count = model->description.output_count * (states > 0 ? RUNS : 1);
    double found = HUGE_VAL;
    replay it = {calloc(espalier_input_count(model) + 1, sizeof *it.inputs), calloc(count + 1, sizeof *it.outputs),
                 calloc(count + 1, sizeof *it.expected), calloc(states + 1, sizeof *it.kept), count};
    espalier_status status;
    if (it.inputs == NULL || it.outputs == NULL || it.expected == NULL || it.kept == NULL)
        status = espalier_fail(model->message, ESPALIER_OUT_OF_MEMORY, "no memory for the check");
    else if ((status = prepare(model, &it)) == ESPALIER_OK && (status = run_all(model, &it)) == ESPALIER_OK)
        status = compare(model, &it, &found);
    release(&it, states);
    if (error != NULL)
        *error = found;
    return status;
}
