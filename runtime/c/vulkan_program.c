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
    const size_t called = what->input_count + what->output_count, tensors = called + (what->failures != NULL);
    program->input_count = what->input_count;
    program->output_count = what->output_count;
    program->tensor_count = tensors;
    program->pipeline_count = what->kernel_count;
    program->dispatch_count = what->dispatch_count;
    program->tensors = calloc(tensors + 1, sizeof *program->tensors);
    program->staged = calloc(tensors + 1, sizeof *program->staged);
    program->pipelines = calloc(what->kernel_count + 1, sizeof *program->pipelines);
    if (program->tensors == NULL || program->staged == NULL || program->pipelines == NULL)
        return espalier_fail(message, ESPALIER_OUT_OF_MEMORY, "out of memory");
    for (size_t at = 0; at < called; at++)
        program->tensors[at] =
            at < what->input_count ? what->inputs[at] : what->outputs[at - what->input_count];
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

static espalier_status check_sizes(const espalier_gpu_program *program, const espalier_const_buffer *inputs,
                                   size_t input_count, const espalier_buffer *outputs, size_t output_count,
                                   char *message)
{
    if (input_count != program->input_count || output_count != program->output_count)
        return espalier_fail(message, ESPALIER_INVALID_ARGUMENT, "expected %zu inputs and %zu outputs, found %zu and %zu",
                             program->input_count, program->output_count, input_count, output_count);
    for (size_t at = 0; at < input_count + output_count; at++) {
        const int in = at < input_count;
        const size_t number = in ? at : at - input_count;
        const void *data = in ? inputs[number].data : outputs[number].data;
        const size_t bytes = in ? inputs[number].bytes : outputs[number].bytes;
        if (data == NULL || bytes != program->tensors[at].bytes)
            return espalier_fail(message, ESPALIER_INVALID_ARGUMENT, "%s %zu: expected %llu bytes, found %zu",
                                 in ? "input" : "output", number,
                                 (unsigned long long)program->tensors[at].bytes, data == NULL ? 0 : bytes);
    }
    return ESPALIER_OK;
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

espalier_status espalier_gpu_program_run(espalier_gpu_program *program, const espalier_const_buffer *inputs,
                                         size_t input_count, const espalier_buffer *outputs, size_t output_count,
                                         char *message, size_t message_bytes)
{
    char text[ESPALIER_MESSAGE_BYTES] = "";
    espalier_status status = ESPALIER_INVALID_ARGUMENT;
    if (program == NULL || (inputs == NULL && input_count > 0) || (outputs == NULL && output_count > 0))
        espalier_fail(text, status, "espalier_gpu_program_run: a null pointer");
    else
        status = check_sizes(program, inputs, input_count, outputs, output_count, text);
    for (size_t at = 0; status == ESPALIER_OK && at < input_count; at++)
        memcpy(host_side(program, at), inputs[at].data, inputs[at].bytes);
    if (status == ESPALIER_OK)
        status = submit(program, text);
    if (status == ESPALIER_OK)
        status = check_failures(program, text);
    for (size_t at = 0; status == ESPALIER_OK && at < output_count; at++)
        memcpy(outputs[at].data, host_side(program, input_count + at), outputs[at].bytes);
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
    free(program->staged);
    free(program);
}
