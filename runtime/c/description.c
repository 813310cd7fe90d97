/* See description.h. */
#include "description.h"

#include <stdlib.h>
#include <string.h>

enum { FIXED = 112, COUNTS = 5, TENSOR = 8 + 8 * ESPALIER_MAX_RANK, STRING = 4 };

size_t espalier_dtype_bytes(espalier_dtype dtype)
{
    static const uint8_t bytes[] = {0, 4, 8, 2, 1, 2, 4, 8, 1, 2, 4, 8, 1};
    return (size_t)dtype < sizeof bytes ? bytes[dtype] : 0;
}

bool espalier_is_free(const espalier_tensor *tensor)
{
    for (uint32_t i = 0; i < tensor->rank; i++)
        if (tensor->dims[i] < 0)
            return true;
    return false;
}

/* Reads a string where it lies; null where it does not end. */
static const char *read_string(espalier_bytes *rest)
{
    if (rest->size < STRING)
        return NULL;
    const size_t length = espalier_read_u32(rest->data);
    const size_t taken = STRING + (length / 4 + 1) * 4;
    if (taken > rest->size || rest->data[STRING + length] != 0)
        return NULL;
    const char *text = (const char *)rest->data + STRING;
    *rest = (espalier_bytes){rest->data + taken, rest->size - taken};
    return text;
}

/* Reads a tensor and works out its bytes; false where it makes no sense. */
static bool read_tensor(espalier_bytes *rest, espalier_tensor *tensor, size_t *free_count)
{
    if (rest->size < TENSOR)
        return false;
    const uint32_t dtype = espalier_read_u32(rest->data);
    tensor->rank = espalier_read_u32(rest->data + 4);
    if (tensor->rank > ESPALIER_MAX_RANK || dtype > ESPALIER_BOOL)
        return false;
    tensor->dtype = (espalier_dtype)dtype;
    tensor->bytes = espalier_dtype_bytes(tensor->dtype);
    size_t free_here = 0;
    for (uint32_t i = 0; i < tensor->rank; i++) {
        const int64_t size = (int64_t)espalier_read_u64(rest->data + 8 + 8 * i);
        tensor->dims[i] = size;
        free_here += size == -1;
        if (size != -1 && (size < 0 || __builtin_mul_overflow(tensor->bytes, (size_t)size, &tensor->bytes)))
            return false;
    }
    *free_count += free_here;
    *rest = (espalier_bytes){rest->data + TENSOR, rest->size - TENSOR};
    tensor->name = read_string(rest);
    const bool has_steps = free_here == 0 || (free_here == 1 && tensor->bytes > 0);
    return tensor->name != NULL && espalier_dtype_bytes(tensor->dtype) > 0 && has_steps;
}

/* The counts that follow each other at the fixed part's end. */
static void read_fixed(const uint8_t *at, espalier_description *description)
{
    uint64_t *const sizes[] = {&description->arena, &description->arena_per_step, &description->scratch,
                               &description->stamps, &description->weights};
    size_t *const counts[] = {&description->input_count, &description->output_count, &description->label_count,
                              &description->message_count, &description->state_count};
    description->fingerprint = (const char *)at + 8;
    for (size_t i = 0; i < 5; i++)
        *sizes[i] = espalier_read_u64(at + 40 + 8 * i);
    memcpy(&description->tolerance, at + 80, sizeof description->tolerance);
    description->sequential = (espalier_read_u32(at + 88) & ESPALIER_SEQUENTIAL) != 0;
    for (size_t i = 0; i < COUNTS; i++)
        *counts[i] = espalier_read_u32(at + 92 + 4 * i);
}

/* Whether the last inputs and the last outputs are states: as many, of the same types, of fixed sizes. */
static bool has_states(const espalier_description *description)
{
    const size_t count = description->state_count;
    if (count > description->input_count || count > description->output_count)
        return false;
    const espalier_tensor *now = description->tensors + description->input_count - count;
    const espalier_tensor *next = now + description->output_count;
    for (size_t i = 0; i < count; i++)
        if (now[i].dtype != next[i].dtype || now[i].rank != next[i].rank || espalier_is_free(&now[i])
            || memcmp(now[i].dims, next[i].dims, sizeof now[i].dims) != 0)
            return false;
    return true;
}

static bool read_variable(espalier_bytes rest, espalier_description *description)
{
    const size_t tensors = description->input_count + description->output_count;
    const size_t texts = description->label_count + description->message_count;
    size_t free_inputs = 0;
    description->target = read_string(&rest);
    for (size_t i = 0; i < tensors; i++) {
        if (!read_tensor(&rest, &description->tensors[i], &description->free_count))
            return false;
        if (i < description->input_count)
            free_inputs = description->free_count;
    }
    for (size_t i = 0; i < texts; i++)
        if ((description->texts[i] = read_string(&rest)) == NULL)
            return false;
    return description->target != NULL && rest.size == 0 && has_states(description) && description->label_count == description->stamps
        && description->tolerance >= 0 && description->tolerance <= 1
        && (free_inputs > 0 || description->free_count == 0); /* an input's size tells the steps */
}

espalier_status espalier_description_read(espalier_bytes member, espalier_description *description, char *message)
{
    memset(description, 0, sizeof *description);
    if (member.size < FIXED || memcmp(member.data, "ESPA", 4) != 0)
        return espalier_fail(message, ESPALIER_DAMAGED, "the model file's description is no such thing");
    const uint32_t version = espalier_read_u32(member.data + 4);
    if (version != ESPALIER_ABI)
        return espalier_fail(message, ESPALIER_VERSION, "the model file has ABI version %u, this runtime reads version "
                             "%u; compile the model again", version, ESPALIER_ABI);
    read_fixed(member.data, description);
    const size_t tensors = description->input_count + description->output_count;
    const size_t texts = description->label_count + description->message_count;
    /* every tensor and string takes room in the member: no more than it can hold is allocated */
    if (tensors <= member.size / TENSOR && texts <= member.size / STRING) {
        description->tensors = calloc(tensors + 1, sizeof *description->tensors);
        description->texts = calloc(texts + 1, sizeof *description->texts);
        if (description->tensors == NULL || description->texts == NULL) {
            espalier_description_free(description);
            return espalier_fail(message, ESPALIER_OUT_OF_MEMORY, "no memory for the model's description");
        }
        if (read_variable((espalier_bytes){member.data + FIXED, member.size - FIXED}, description))
            return ESPALIER_OK;
    }
    espalier_description_free(description);
    return espalier_fail(message, ESPALIER_DAMAGED, "the model file's description makes no sense");
}

void espalier_description_free(espalier_description *description)
{
    free(description->tensors);
    free(description->texts);
    description->tensors = NULL;
    description->texts = NULL;
}
