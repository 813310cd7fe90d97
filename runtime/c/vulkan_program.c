/* See vulkan.h: a program and its runs. What comes in is checked in vulkan_check.c first, what a run submits is
   recorded in vulkan_record.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "vulkan_program.h"

enum { STAGING_ALIGNMENT = 64 };

/* -- buffers ------------------------------------------------------------------------------------------------- */

/* Submits what was recorded and waits for its end. */
static espalier_status submit(espalier_gpu_program *program, char *message)
{
    espalier_gpu *gpu = program->gpu;
    const VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO, .commandBufferCount = 1,
                               .pCommandBuffers = &program->commands};
    VkResult result = gpu->vk.vkResetFences(gpu->device, 1, &program->fence);
    if (result != VK_SUCCESS)
        return espalier_vulkan_failed(message, result, "vkResetFences");
    pthread_mutex_lock(&gpu->queue_lock);
    result = gpu->vk.vkQueueSubmit(gpu->queue, 1, &info, program->fence);
    pthread_mutex_unlock(&gpu->queue_lock);
    if (result != VK_SUCCESS)
        return espalier_vulkan_failed(message, result, "vkQueueSubmit");
    result = gpu->vk.vkWaitForFences(gpu->device, 1, &program->fence, VK_TRUE, UINT64_MAX);
    return result == VK_SUCCESS ? ESPALIER_OK : espalier_vulkan_failed(message, result, "vkWaitForFences");
}

/* Weights where the host does not see them: through a buffer that is gone afterwards. */
static espalier_status upload(espalier_gpu_program *program, const espalier_gpu_description *what, char *message)
{
    const espalier_vulkan_table *vk = &program->gpu->vk;
    espalier_vulkan_buffer through = {0};
    espalier_status status = espalier_vulkan_make_buffer(program->gpu, what->weight_bytes, 1, &through, message);
    if (status == ESPALIER_OK)
        status = espalier_vulkan_begin(program, message);
    if (status == ESPALIER_OK) {
        const VkBufferCopy all = {.size = through.bytes};
        if (what->weight_bytes > 0)
            memcpy(through.mapped, what->weights, what->weight_bytes);
        vk->vkCmdCopyBuffer(program->commands, through.handle, program->buffers[ESPALIER_GPU_WEIGHTS].handle, 1, &all);
        vk->vkCmdFillBuffer(program->commands, program->buffers[ESPALIER_GPU_ACTIVATIONS].handle, 0, VK_WHOLE_SIZE, 0);
        status = espalier_vulkan_end(program, message);
    }
    if (status == ESPALIER_OK)
        status = submit(program, message);
    espalier_vulkan_free_buffer(program->gpu, &through);
    return status;
}

static espalier_status make_buffers(espalier_gpu_program *program, const espalier_gpu_description *what, char *message)
{
    espalier_gpu *gpu = program->gpu;
    const uint64_t bytes[2] = {what->weight_bytes, what->activation_bytes};
    espalier_status status = ESPALIER_OK;
    for (int at = 0; at < 2 && status == ESPALIER_OK; at++)
        status = espalier_vulkan_make_buffer(gpu, bytes[at], gpu->unified, &program->buffers[at], message);
    if (status != ESPALIER_OK)
        return status;
    uint64_t staged = 0;
    for (size_t at = 0; at < program->tensor_count; at++) {
        program->staged[at] = staged;
        staged += (program->tensors[at].bytes + STAGING_ALIGNMENT - 1) / STAGING_ALIGNMENT * STAGING_ALIGNMENT;
    }
    if (!gpu->unified) {
        status = espalier_vulkan_make_buffer(gpu, staged, 1, &program->staging, message);
        return status == ESPALIER_OK ? upload(program, what, message) : status;
    }
    if (what->weight_bytes > 0)
        memcpy(program->buffers[ESPALIER_GPU_WEIGHTS].mapped, what->weights, what->weight_bytes);
    memset(program->buffers[ESPALIER_GPU_ACTIVATIONS].mapped, 0, what->activation_bytes);
    return ESPALIER_OK;
}

/* -- the interface ------------------------------------------------------------------------------------------- */

static espalier_status copy_messages(espalier_gpu_program *program, const espalier_gpu_description *what,
                                     char *message)
{
    program->messages = calloc(what->message_count + 1, sizeof *program->messages);
    for (size_t at = 0; program->messages != NULL && at < what->message_count; at++) {
        const size_t bytes = strlen(what->messages[at]) + 1;
        if ((program->messages[at] = malloc(bytes)) == NULL)
            return espalier_fail(message, ESPALIER_OUT_OF_MEMORY, "out of memory");
        memcpy(program->messages[at], what->messages[at], bytes);
        program->message_count = at + 1;
    }
    return program->messages != NULL ? ESPALIER_OK : espalier_fail(message, ESPALIER_OUT_OF_MEMORY, "out of memory");
}

static espalier_status create(espalier_gpu_program *program, const espalier_gpu_description *what, char *message)
{
    const size_t inputs = what->input_count + (what->most_steps > 0), called = inputs + what->output_count;
    const size_t tensors = called + (what->failures != NULL);
    program->input_count = inputs;
    program->most_steps = what->most_steps;
    program->output_count = what->output_count;
    program->tensor_count = tensors;
    program->pipeline_count = what->kernel_count;
    program->dispatch_count = what->dispatch_count;
    program->tensors = calloc(tensors + 1, sizeof *program->tensors);
    program->staged = calloc(tensors + 1, sizeof *program->staged);
    program->step_bytes = calloc(tensors + 1, sizeof *program->step_bytes);
    program->pipelines = calloc(what->kernel_count + 1, sizeof *program->pipelines);
    if (program->tensors == NULL || program->staged == NULL || program->step_bytes == NULL || program->pipelines == NULL)
        return espalier_fail(message, ESPALIER_OUT_OF_MEMORY, "out of memory");
    for (size_t at = 0; at < what->input_count; at++)
        program->tensors[at] = what->inputs[at];
    if (what->most_steps > 0)
        program->tensors[what->input_count] = *what->steps;
    for (size_t at = 0; at < what->output_count; at++)
        program->tensors[inputs + at] = what->outputs[at];
    for (size_t at = 0; what->most_steps > 0 && at < what->input_count + what->output_count; at++) {
        const size_t tensor = at < what->input_count ? at : at + 1;
        program->step_bytes[tensor] = what->free[at] != 0 ? program->tensors[tensor].bytes / what->most_steps : 0;
    }
    if (what->failures != NULL)
        program->tensors[called] = *what->failures;
    espalier_status status = copy_messages(program, what, message);
    if (status == ESPALIER_OK)
        status = espalier_vulkan_make_pools(program, what, message);
    if (status == ESPALIER_OK)
        status = make_buffers(program, what, message);
    if (status == ESPALIER_OK)
        status = espalier_vulkan_make_pipelines(program->gpu, what, program->pipelines, message);
    return status == ESPALIER_OK ? espalier_vulkan_record(program, what, message) : status;
}

espalier_status espalier_gpu_program_create(espalier_gpu *gpu, const espalier_gpu_description *description,
                                            espalier_gpu_program **program, char *message, size_t message_bytes)
{
    char text[ESPALIER_MESSAGE_BYTES] = "";
    espalier_gpu_program *made = NULL;
    espalier_status status = ESPALIER_INVALID_ARGUMENT;
    if (program != NULL)
        *program = NULL;
    if (gpu == NULL || description == NULL || program == NULL)
        espalier_fail(text, status, "espalier_gpu_program_create: a null pointer");
    else if ((status = espalier_vulkan_check(gpu, description, text)) == ESPALIER_OK) {
        made = calloc(1, sizeof *made);
        status = ESPALIER_OUT_OF_MEMORY;
        if (made != NULL) {
            made->gpu = gpu;
            status = create(made, description, text);
        }
    }
    if (message != NULL && message_bytes > 0)
        snprintf(message, message_bytes, "%s", text);
    if (status == ESPALIER_OK)
        *program = made;
    else
        espalier_gpu_program_destroy(made);
    return status;
}

/* What a caller gives, without the word of the steps. */
static size_t given_inputs(const espalier_gpu_program *program)
{
    return program->input_count - (program->most_steps > 0);
}

/* Whether a tensor of a call has the bytes that it must have, for as many steps as the first that has a free number of
   them; their number is 0 before. */
static espalier_status check_size(const espalier_gpu_program *program, size_t tensor, espalier_const_buffer buffer,
                                  uint64_t *steps, const char *kind, size_t number, char *message)
{
    const uint64_t one = program->step_bytes[tensor];
    uint64_t expected = program->tensors[tensor].bytes;
    if (one > 0 && *steps == 0 && buffer.bytes % one == 0)
        *steps = buffer.bytes / one;
    if (one > 0 && *steps > program->most_steps)
        return espalier_fail(message, ESPALIER_NOT_RESERVED, "%s %zu: found %llu time steps, the model takes 1 to %u; "
                             "compile it with an example of more", kind, number, (unsigned long long)*steps,
                             program->most_steps);
    if (one > 0)
        expected = one * (*steps > 0 ? *steps : 1);
    if (buffer.data == NULL || buffer.bytes != expected)
        return espalier_fail(message, ESPALIER_INVALID_ARGUMENT, "%s %zu: expected %llu bytes, found %zu", kind, number,
                             (unsigned long long)expected, buffer.data == NULL ? 0 : buffer.bytes);
    return ESPALIER_OK;
}

static espalier_status check_sizes(const espalier_gpu_program *program, const espalier_const_buffer *inputs,
                                   size_t input_count, const espalier_buffer *outputs, size_t output_count,
                                   uint64_t *steps, char *message)
{
    espalier_status status = ESPALIER_OK;
    if (input_count != given_inputs(program) || output_count != program->output_count)
        return espalier_fail(message, ESPALIER_INVALID_ARGUMENT, "expected %zu inputs and %zu outputs, found %zu and %zu",
                             given_inputs(program), program->output_count, input_count, output_count);
    for (size_t at = 0; at < input_count && status == ESPALIER_OK; at++)
        status = check_size(program, at, inputs[at], steps, "input", at, message);
    for (size_t at = 0; at < output_count && status == ESPALIER_OK; at++)
        status = check_size(program, program->input_count + at,
                            (espalier_const_buffer){outputs[at].data, outputs[at].bytes}, steps, "output", at, message);
    return status;
}

/* Where the host writes an input or reads an output. */
static uint8_t *host_side(const espalier_gpu_program *program, size_t tensor)
{
    if (program->gpu->unified)
        return program->buffers[ESPALIER_GPU_ACTIVATIONS].mapped + program->tensors[tensor].offset;
    return program->staging.mapped + program->staged[tensor];
}

/* What kernels found wrong in the run that has ended. */
static espalier_status check_failures(const espalier_gpu_program *program, char *message)
{
    const size_t tensor = program->input_count + program->output_count;
    uint32_t number = UINT32_MAX;
    if (tensor < program->tensor_count)
        memcpy(&number, host_side(program, tensor), sizeof number);
    if (number == UINT32_MAX)
        return ESPALIER_OK;
    const int known = number > 0 && number <= program->message_count;
    return espalier_fail(message, ESPALIER_MODEL_FAILED, "the model stopped: %.200s",
                         known ? program->messages[number - 1] : "an unknown assertion failed");
}

/* An input to where the device reads it. Steps that the run has not are its last one again: kernels compute them too,
   and what holds of a step that a caller gives holds of them. */
static void copy_in(const espalier_gpu_program *program, size_t tensor, espalier_const_buffer input)
{
    uint8_t *to = host_side(program, tensor);
    const size_t step = (size_t)program->step_bytes[tensor];
    memcpy(to, input.data, input.bytes);
    for (size_t at = input.bytes; step > 0 && at < program->tensors[tensor].bytes; at += step)
        memcpy(to + at, to + at - step, step);
}

espalier_status espalier_gpu_program_run(espalier_gpu_program *program, const espalier_const_buffer *inputs,
                                         size_t input_count, const espalier_buffer *outputs, size_t output_count,
                                         char *message, size_t message_bytes)
{
    char text[ESPALIER_MESSAGE_BYTES] = "";
    espalier_status status = ESPALIER_INVALID_ARGUMENT;
    uint64_t steps = 0;
    if (program == NULL || (inputs == NULL && input_count > 0) || (outputs == NULL && output_count > 0))
        espalier_fail(text, status, "espalier_gpu_program_run: a null pointer");
    else
        status = check_sizes(program, inputs, input_count, outputs, output_count, &steps, text);
    for (size_t at = 0; status == ESPALIER_OK && at < input_count; at++)
        copy_in(program, at, inputs[at]);
    const uint32_t word = (uint32_t)steps;
    if (status == ESPALIER_OK && program->most_steps > 0)
        memcpy(host_side(program, input_count), &word, sizeof word);
    if (status == ESPALIER_OK)
        status = submit(program, text);
    if (status == ESPALIER_OK)
        status = check_failures(program, text);
    for (size_t at = 0; status == ESPALIER_OK && at < output_count; at++)
        memcpy(outputs[at].data, host_side(program, program->input_count + at), outputs[at].bytes);
    if (message != NULL && message_bytes > 0)
        snprintf(message, message_bytes, "%s", text);
    return status;
}

static espalier_status read_times(const espalier_gpu_program *program, double *seconds, char *message)
{
    const espalier_gpu *gpu = program->gpu;
    const double tick = 1e-9 * (double)gpu->properties.limits.timestampPeriod;
    uint64_t before = 0;
    for (uint32_t at = 0; at <= program->dispatch_count; at++) {
        uint64_t now = 0;
        const VkResult result = gpu->vk.vkGetQueryPoolResults(gpu->device, program->queries, at, 1, sizeof now, &now,
                                                              sizeof now, VK_QUERY_RESULT_64_BIT);
        if (result == VK_NOT_READY)
            return espalier_fail(message, ESPALIER_INVALID_ARGUMENT, "the program has not run yet");
        if (result != VK_SUCCESS)
            return espalier_vulkan_failed(message, result, "vkGetQueryPoolResults");
        if (at > 0)
            seconds[at - 1] = tick * (double)(now - before);
        before = now;
    }
    return ESPALIER_OK;
}

espalier_status espalier_gpu_program_times(espalier_gpu_program *program, double *seconds, size_t count,
                                           char *message, size_t message_bytes)
{
    char text[ESPALIER_MESSAGE_BYTES] = "";
    espalier_status status = ESPALIER_OK;
    if (program == NULL || seconds == NULL || count != program->dispatch_count)
        status = espalier_fail(text, ESPALIER_INVALID_ARGUMENT, "espalier_gpu_program_times: expected room for %zu "
                               "times, found %zu", program == NULL ? 0 : program->dispatch_count, count);
    else if (program->queries == VK_NULL_HANDLE)
        memset(seconds, 0, count * sizeof *seconds);
    else
        status = read_times(program, seconds, text);
    if (message != NULL && message_bytes > 0)
        snprintf(message, message_bytes, "%s", text);
    return status;
}

void espalier_gpu_program_destroy(espalier_gpu_program *program)
{
    if (program == NULL)
        return;
    espalier_gpu *gpu = program->gpu;
    for (size_t at = 0; program->pipelines != NULL && at < program->pipeline_count; at++) {
        gpu->vk.vkDestroyPipeline(gpu->device, program->pipelines[at].handle, NULL);
        gpu->vk.vkDestroyPipelineLayout(gpu->device, program->pipelines[at].layout, NULL);
        gpu->vk.vkDestroyDescriptorSetLayout(gpu->device, program->pipelines[at].sets, NULL);
    }
    gpu->vk.vkDestroyQueryPool(gpu->device, program->queries, NULL);
    gpu->vk.vkDestroyFence(gpu->device, program->fence, NULL);
    gpu->vk.vkDestroyCommandPool(gpu->device, program->pool, NULL);
    gpu->vk.vkDestroyDescriptorPool(gpu->device, program->descriptors, NULL);
    espalier_vulkan_free_buffer(gpu, &program->staging);
    espalier_vulkan_free_buffer(gpu, &program->buffers[ESPALIER_GPU_WEIGHTS]);
    espalier_vulkan_free_buffer(gpu, &program->buffers[ESPALIER_GPU_ACTIVATIONS]);
    for (size_t at = 0; at < program->message_count; at++)
        free(program->messages[at]);
    free(program->messages);
    free(program->pipelines);
    free(program->tensors);
    free(program->step_bytes);
    free(program->staged);
    free(program);
}
