/* See vulkan_code.h. Every count comes from a file: nothing is believed before it is seen to fit the bytes. */
#include "vulkan_code.h"

#include <stdlib.h>
#include <string.h>

enum { VERSION = 3, HEADER = 44 + ESPALIER_DIGEST_BYTES, KERNEL = 12, DISPATCH = 16, RANGE = 24, STRING = 4 };

/* What is left to read; `failed` once something did not fit. */
typedef struct {
    espalier_bytes rest;
    int failed;
} reader;

static const uint8_t *take(reader *from, size_t bytes)
{
    static const uint8_t nothing[HEADER] = {0};
    if (from->failed || bytes > from->rest.size) {
        from->failed = 1;
        return nothing;
    }
    const uint8_t *at = from->rest.data;
    from->rest = (espalier_bytes){at + bytes, from->rest.size - bytes};
    return at;
}

static const char *take_string(reader *from)
{
    const size_t length = espalier_read_u32(take(from, STRING));
    if (from->failed || length >= from->rest.size) {
        from->failed = 1;
        return "";
    }
    const char *text = (const char *)take(from, length + 4 - length % 4);
    if (!from->failed && text[length] != 0)
        from->failed = 1;
    return from->failed ? "" : text;
}

static void take_range(reader *from, espalier_gpu_range *range)
{
    const uint8_t *at = take(from, RANGE);
    *range = (espalier_gpu_range){espalier_read_u32(at), espalier_read_u32(at + 4), espalier_read_u64(at + 8),
                                  espalier_read_u64(at + 16)};
}

static espalier_status damaged(char *message)
{
    return espalier_fail(message, ESPALIER_DAMAGED, "the model's code is no GPU program, or a truncated one; compile "
                         "the model again");
}

/* The fixed part, and room for the lists: no list has more entries than there are bytes. */
static espalier_status read_header(reader *from, espalier_vulkan_code *code, char *message)
{
    espalier_gpu_description *what = &code->description;
    const size_t size = from->rest.size;
    const uint8_t *at = take(from, HEADER);
    if (from->failed || memcmp(at, "ESPV", 4) != 0)
        return damaged(message);
    if (espalier_read_u32(at + 4) != VERSION)
        return espalier_fail(message, ESPALIER_VERSION, "the model's GPU program has version %u, this runtime %d; "
                             "compile the model again", espalier_read_u32(at + 4), VERSION);
    what->fp16 = espalier_read_u32(at + 8);
    what->kernel_count = espalier_read_u32(at + 12);
    what->dispatch_count = espalier_read_u32(at + 16);
    what->input_count = espalier_read_u32(at + 20);
    what->output_count = espalier_read_u32(at + 24);
    what->message_count = espalier_read_u32(at + 28);
    what->most_steps = espalier_read_u32(at + 32);
    what->activation_bytes = espalier_read_u64(at + 36);
    code->digest = at + 44;
    if (what->kernel_count > size / KERNEL || what->dispatch_count > size / DISPATCH ||
        what->input_count > size / RANGE || what->output_count > size / RANGE || what->message_count > size / STRING)
        return damaged(message);
    code->kernels = calloc(what->kernel_count + 1, sizeof *code->kernels);
    code->dispatches = calloc(what->dispatch_count + 1, sizeof *code->dispatches);
    code->ranges = calloc(size / RANGE + 1, sizeof *code->ranges);
    code->messages = calloc(what->message_count + 1, sizeof *code->messages);
    code->free = calloc(what->input_count + what->output_count + 1, sizeof *code->free);
    if (code->kernels == NULL || code->dispatches == NULL || code->ranges == NULL || code->messages == NULL ||
        code->free == NULL)
        return espalier_fail(message, ESPALIER_OUT_OF_MEMORY, "no memory for the GPU program's lists");
    return ESPALIER_OK;
}

static void read_kernels(reader *from, espalier_vulkan_code *code)
{
    for (size_t i = 0; i < code->description.kernel_count && !from->failed; i++) {
        const uint8_t *at = take(from, KERNEL);
        espalier_gpu_kernel *kernel = &code->kernels[i];
        kernel->bytes = espalier_read_u32(at);
        kernel->bindings = espalier_read_u32(at + 4);
        kernel->push_bytes = espalier_read_u32(at + 8);
        kernel->name = take_string(from);
    }
}

/* The ranges of all dispatches; where the next list begins. */
static espalier_gpu_range *read_dispatches(reader *from, espalier_vulkan_code *code)
{
    espalier_gpu_range *range = code->ranges;
    for (size_t i = 0; i < code->description.dispatch_count && !from->failed; i++) {
        const uint8_t *at = take(from, DISPATCH);
        espalier_gpu_dispatch *dispatch = &code->dispatches[i];
        dispatch->kernel = espalier_read_u32(at);
        for (size_t axis = 0; axis < 3; axis++)
            dispatch->groups[axis] = espalier_read_u32(at + 4 + 4 * axis);
        if (dispatch->kernel >= code->description.kernel_count) {
            from->failed = 1;
            return range;
        }
        const espalier_gpu_kernel *kernel = &code->kernels[dispatch->kernel];
        dispatch->ranges = range;
        for (uint32_t binding = 0; binding < kernel->bindings && !from->failed; binding++)
            take_range(from, range++);
        dispatch->push = take(from, kernel->push_bytes);
    }
    return range;
}

espalier_status espalier_vulkan_code_read(espalier_bytes member, espalier_vulkan_code *code, char *message)
{
    memset(code, 0, sizeof *code);
    espalier_gpu_description *what = &code->description;
    reader from = {member, 0};
    const espalier_status status = read_header(&from, code, message);
    if (status != ESPALIER_OK)
        return status;
    read_kernels(&from, code);
    espalier_gpu_range *range = read_dispatches(&from, code);
    what->inputs = range;
    what->outputs = range + what->input_count;
    what->failures = what->message_count > 0 ? what->outputs + what->output_count : NULL;
    const size_t ranges = what->input_count + what->output_count + (what->message_count > 0);
    for (size_t i = 0; i < ranges && !from.failed; i++)
        take_range(&from, range++);
    for (size_t i = 0; i < what->message_count && !from.failed; i++)
        code->messages[i] = take_string(&from);
    if (what->most_steps > 0) {
        what->steps = range;
        what->free = code->free;
        take_range(&from, range++);
        for (size_t i = 0; i < what->input_count + what->output_count; i++)
            code->free[i] = espalier_read_u32(take(&from, 4));
    }
    for (size_t i = 0; i < what->kernel_count && !from.failed; i++)
        code->kernels[i].words = take(&from, code->kernels[i].bytes);
    if (from.failed || from.rest.size != 0)
        return damaged(message);
    what->kernels = code->kernels;
    what->dispatches = code->dispatches;
    what->messages = code->messages;
    return ESPALIER_OK;
}

void espalier_vulkan_code_free(espalier_vulkan_code *code)
{
    free(code->kernels);
    free(code->dispatches);
    free(code->ranges);
    free(code->messages);
    free(code->free);
    memset(code, 0, sizeof *code);
}
