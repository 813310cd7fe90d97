/* See vulkan.h: a program, its recording and its runs. What comes in is checked in vulkan_check.c first. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "vulkan_program.h"

enum { STAGING_ALIGNMENT = 64 };

struct espalier_gpu_program {
    espalier_gpu *gpu;
    espalier_vulkan_buffer buffers[2];   /* ESPALIER_GPU_WEIGHTS, ESPALIER_GPU_ACTIVATIONS */
    espalier_vulkan_buffer staging;      /* inputs, then outputs; not on unified memory */
    uint64_t *staged;    /* where each lies in it */
    espalier_gpu_range *tensors; /* inputs, then outputs */
    size_t input_count, output_count, pipeline_count, dispatch_count;
    espalier_vulkan_pipeline *pipelines;
    VkDescriptorPool descriptors;
    VkCommandPool pool;
    VkCommandBuffer commands;
    VkFence fence;
    VkQueryPool queries; /* a timestamp before the first dispatch and behind each; null where none are asked for */
};

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

static espalier_status begin(espalier_gpu_program *program, char *message)
{
    const VkCommandBufferBeginInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    const VkResult result = program->gpu->vk.vkBeginCommandBuffer(program->commands, &info);
    return result == VK_SUCCESS ? ESPALIER_OK : espalier_vulkan_failed(message, result, "vkBeginCommandBuffer");
}

static espalier_status end(espalier_gpu_program *program, char *message)
{
    const VkResult result = program->gpu->vk.vkEndCommandBuffer(program->commands);
    return result == VK_SUCCESS ? ESPALIER_OK : espalier_vulkan_failed(message, result, "vkEndCommandBuffer");
}

/* Weights where the host does not see them: through a buffer that is gone afterwards. */
static espalier_status upload(espalier_gpu_program *program, const espalier_gpu_description *what, char *message)
{
    const espalier_vulkan_table *vk = &program->gpu->vk;
    espalier_vulkan_buffer through = {0};
    espalier_status status = espalier_vulkan_make_buffer(program->gpu, what->weight_bytes, 1, &through, message);
    if (status == ESPALIER_OK)
        status = begin(program, message);
    if (status == ESPALIER_OK) {
        const VkBufferCopy all = {.size = through.bytes};
        if (what->weight_bytes > 0)
            memcpy(through.mapped, what->weights, what->weight_bytes);
        vk->vkCmdCopyBuffer(program->commands, through.handle, program->buffers[ESPALIER_GPU_WEIGHTS].handle, 1, &all);
        vk->vkCmdFillBuffer(program->commands, program->buffers[ESPALIER_GPU_ACTIVATIONS].handle, 0, VK_WHOLE_SIZE, 0);
        status = end(program, message);
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
    for (size_t at = 0; at < program->input_count + program->output_count; at++) {
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

/* -- recording ----------------------------------------------------------------------------------------------- */

static espalier_status make_pools(espalier_gpu_program *program, const espalier_gpu_description *what, char *message)
{
    espalier_gpu *gpu = program->gpu;
    uint32_t bindings = 1;
    for (size_t at = 0; at < what->dispatch_count; at++)
        bindings += what->kernels[what->dispatches[at].kernel].bindings;
    const VkDescriptorPoolSize size = {.type = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, .descriptorCount = bindings};
    const VkDescriptorPoolCreateInfo sets = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
                                             .maxSets = (uint32_t)what->dispatch_count + 1, .poolSizeCount = 1,
                                             .pPoolSizes = &size};
    VkResult result = gpu->vk.vkCreateDescriptorPool(gpu->device, &sets, NULL, &program->descriptors);
    const VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                          .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                          .queueFamilyIndex = gpu->family};
    if (result == VK_SUCCESS)
        result = gpu->vk.vkCreateCommandPool(gpu->device, &pool, NULL, &program->pool);
    const VkCommandBufferAllocateInfo commands = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                                  .commandPool = program->pool, .commandBufferCount = 1};
    if (result == VK_SUCCESS)
        result = gpu->vk.vkAllocateCommandBuffers(gpu->device, &commands, &program->commands);
    const VkQueryPoolCreateInfo queries = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                           .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                           .queryCount = (uint32_t)what->dispatch_count + 1};
    if (result == VK_SUCCESS && gpu->timestamps)
        result = gpu->vk.vkCreateQueryPool(gpu->device, &queries, NULL, &program->queries);
    const VkFenceCreateInfo fence = {.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    if (result == VK_SUCCESS)
        result = gpu->vk.vkCreateFence(gpu->device, &fence, NULL, &program->fence);
    return result == VK_SUCCESS ? ESPALIER_OK : espalier_vulkan_failed(message, result, "making pools");
}

static VkResult bind(espalier_gpu_program *program, const espalier_gpu_dispatch *dispatch, uint32_t bindings)
{
    espalier_gpu *gpu = program->gpu;
    const espalier_vulkan_pipeline *with = &program->pipelines[dispatch->kernel];
    const VkDescriptorSetAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                              .descriptorPool = program->descriptors, .descriptorSetCount = 1,
                                              .pSetLayouts = &with->sets};
    VkDescriptorSet set = VK_NULL_HANDLE;
    const VkResult result = gpu->vk.vkAllocateDescriptorSets(gpu->device, &info, &set);
    if (result != VK_SUCCESS)
        return result;
    VkDescriptorBufferInfo ranges[ESPALIER_VULKAN_BINDINGS];
    VkWriteDescriptorSet writes[ESPALIER_VULKAN_BINDINGS];
    for (uint32_t at = 0; at < bindings; at++) {
        const espalier_gpu_range *range = &dispatch->ranges[at];
        ranges[at] = (VkDescriptorBufferInfo){program->buffers[range->buffer].handle, range->offset, range->bytes};
        writes[at] = (VkWriteDescriptorSet){
            .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET, .dstSet = set, .dstBinding = at, .descriptorCount = 1,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, .pBufferInfo = &ranges[at]};
    }
    gpu->vk.vkUpdateDescriptorSets(gpu->device, bindings, writes, 0, NULL);
    gpu->vk.vkCmdBindPipeline(program->commands, VK_PIPELINE_BIND_POINT_COMPUTE, with->handle);
    gpu->vk.vkCmdBindDescriptorSets(program->commands, VK_PIPELINE_BIND_POINT_COMPUTE, with->layout, 0, 1, &set, 0,
                                    NULL);
    return VK_SUCCESS;
}

static void barrier(espalier_gpu_program *program, VkPipelineStageFlags from, VkAccessFlags written,
                    VkPipelineStageFlags to, VkAccessFlags used)
{
    const VkMemoryBarrier all = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = written,
                                 .dstAccessMask = used};
    program->gpu->vk.vkCmdPipelineBarrier(program->commands, from, to, 0, 1, &all, 0, NULL, 0, NULL);
}

/* Whether `later` needs what `earlier` writes, or writes what it uses. */
static int depends(const espalier_gpu_description *what, const espalier_gpu_dispatch *earlier,
                   const espalier_gpu_dispatch *later)
{
    for (uint32_t i = 0; i < what->kernels[earlier->kernel].bindings; i++)
        for (uint32_t j = 0; j < what->kernels[later->kernel].bindings; j++) {
            const espalier_gpu_range *a = &earlier->ranges[i];
            const espalier_gpu_range *b = &later->ranges[j];
            if (a->buffer == b->buffer && (a->written || b->written) && a->offset < b->offset + b->bytes &&
                b->offset < a->offset + a->bytes)
                return 1;
        }
    return 0;
}

/* Timestamp number `at`, when all before it is done. */
static void stamp(espalier_gpu_program *program, uint32_t at)
{
    if (program->queries != VK_NULL_HANDLE)
        program->gpu->vk.vkCmdWriteTimestamp(program->commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT,
                                             program->queries, at);
}

static espalier_status record_dispatches(espalier_gpu_program *program, const espalier_gpu_description *what,
                                         char *message)
{
    const espalier_vulkan_table *vk = &program->gpu->vk;
    const VkPipelineStageFlags compute = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
    size_t since = 0; /* the first dispatch behind the last barrier */
    stamp(program, 0);
    for (size_t at = 0; at < what->dispatch_count; at++) {
        const espalier_gpu_dispatch *dispatch = &what->dispatches[at];
        const espalier_gpu_kernel *kernel = &what->kernels[dispatch->kernel];
        size_t earlier = since;
        while (earlier < at && !depends(what, &what->dispatches[earlier], dispatch))
            earlier++;
        if (earlier < at) {
            barrier(program, compute, VK_ACCESS_SHADER_WRITE_BIT, compute,
                    VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
            since = at;
        }
        const VkResult result = bind(program, dispatch, kernel->bindings);
        if (result != VK_SUCCESS)
            return espalier_vulkan_failed(message, result, "vkAllocateDescriptorSets");
        if (kernel->push_bytes > 0)
            vk->vkCmdPushConstants(program->commands, program->pipelines[dispatch->kernel].layout,
                                   VK_SHADER_STAGE_COMPUTE_BIT, 0, kernel->push_bytes, dispatch->push);
        vk->vkCmdDispatch(program->commands, dispatch->groups[0], dispatch->groups[1], dispatch->groups[2]);
        stamp(program, (uint32_t)at + 1);
    }
    return ESPALIER_OK;
}

static void copy_tensor(espalier_gpu_program *program, size_t number)
{
    const espalier_gpu_range *tensor = &program->tensors[number];
    const VkBuffer activations = program->buffers[ESPALIER_GPU_ACTIVATIONS].handle;
    const int in = number < program->input_count;
    const uint64_t staged = program->staged[number];
    const VkBufferCopy region = {.srcOffset = in ? staged : tensor->offset, .dstOffset = in ? tensor->offset : staged,
                                 .size = tensor->bytes};
    program->gpu->vk.vkCmdCopyBuffer(program->commands, in ? program->staging.handle : activations,
                                     in ? activations : program->staging.handle, 1, &region);
}

static espalier_status record(espalier_gpu_program *program, const espalier_gpu_description *what, char *message)
{
    const VkPipelineStageFlags compute = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
    const VkPipelineStageFlags transfer = VK_PIPELINE_STAGE_TRANSFER_BIT;
    const int staged = !program->gpu->unified;
    espalier_status status = begin(program, message);
    if (status != ESPALIER_OK)
        return status;
    if (program->queries != VK_NULL_HANDLE)
        program->gpu->vk.vkCmdResetQueryPool(program->commands, program->queries, 0,
                                             (uint32_t)what->dispatch_count + 1);
    for (size_t at = 0; staged && at < program->input_count; at++)
        copy_tensor(program, at);
    if (staged)
        barrier(program, transfer, VK_ACCESS_TRANSFER_WRITE_BIT, compute,
                VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
    status = record_dispatches(program, what, message);
    if (status != ESPALIER_OK)
        return status;
    if (staged)
        barrier(program, compute | transfer, VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT, transfer,
                VK_ACCESS_TRANSFER_READ_BIT);
    for (size_t at = 0; staged && at < program->output_count; at++)
        copy_tensor(program, program->input_count + at);
    barrier(program, staged ? transfer : compute, staged ? VK_ACCESS_TRANSFER_WRITE_BIT : VK_ACCESS_SHADER_WRITE_BIT,
            VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    return end(program, message);
}

/* -- the interface ------------------------------------------------------------------------------------------- */

static espalier_status create(espalier_gpu_program *program, const espalier_gpu_description *what, char *message)
{
    const size_t tensors = what->input_count + what->output_count;
    program->input_count = what->input_count;
    program->output_count = what->output_count;
    program->pipeline_count = what->kernel_count;
    program->dispatch_count = what->dispatch_count;
    program->tensors = calloc(tensors + 1, sizeof *program->tensors);
    program->staged = calloc(tensors + 1, sizeof *program->staged);
    program->pipelines = calloc(what->kernel_count + 1, sizeof *program->pipelines);
    if (program->tensors == NULL || program->staged == NULL || program->pipelines == NULL)
        return espalier_fail(message, ESPALIER_OUT_OF_MEMORY, "out of memory");
    for (size_t at = 0; at < tensors; at++)
        program->tensors[at] =
            at < what->input_count ? what->inputs[at] : what->outputs[at - what->input_count];
    espalier_status status = make_pools(program, what, message);
    if (status == ESPALIER_OK)
        status = make_buffers(program, what, message);
    if (status == ESPALIER_OK)
        status = espalier_vulkan_make_pipelines(program->gpu, what, program->pipelines, message);
    return status == ESPALIER_OK ? record(program, what, message) : status;
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
    free(program->pipelines);
    free(program->tensors);
    free(program->staged);
    free(program);
}
