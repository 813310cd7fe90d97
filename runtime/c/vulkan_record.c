/* See vulkan.h: what a run submits, recorded once: barriers, dispatches, and copies where memory is not unified. */
#include "support.h"
#include "vulkan_program.h"

espalier_status espalier_vulkan_begin(espalier_gpu_program *program, char *message)
{
    const VkCommandBufferBeginInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    const VkResult result = program->gpu->vk.vkBeginCommandBuffer(program->commands, &info);
    return result == VK_SUCCESS ? ESPALIER_OK : espalier_vulkan_failed(message, result, "vkBeginCommandBuffer");
}

espalier_status espalier_vulkan_end(espalier_gpu_program *program, char *message)
{
    const VkResult result = program->gpu->vk.vkEndCommandBuffer(program->commands);
    return result == VK_SUCCESS ? ESPALIER_OK : espalier_vulkan_failed(message, result, "vkEndCommandBuffer");
}

espalier_status espalier_vulkan_make_pools(espalier_gpu_program *program, const espalier_gpu_description *what, char *message)
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

/* The word that kernels leave the least number of what failed in; how many there are. */
static int reset_failures(espalier_gpu_program *program)
{
    const size_t number = program->input_count + program->output_count;
    if (number == program->tensor_count)
        return 0;
    program->gpu->vk.vkCmdFillBuffer(program->commands, program->buffers[ESPALIER_GPU_ACTIVATIONS].handle,
                                     program->tensors[number].offset, program->tensors[number].bytes, UINT32_MAX);
    return 1;
}

espalier_status espalier_vulkan_record(espalier_gpu_program *program, const espalier_gpu_description *what, char *message)
{
    const VkPipelineStageFlags compute = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
    const VkPipelineStageFlags transfer = VK_PIPELINE_STAGE_TRANSFER_BIT;
    const int staged = !program->gpu->unified;
    espalier_status status = espalier_vulkan_begin(program, message);
    if (status != ESPALIER_OK)
        return status;
    if (program->queries != VK_NULL_HANDLE)
        program->gpu->vk.vkCmdResetQueryPool(program->commands, program->queries, 0,
                                             (uint32_t)what->dispatch_count + 1);
    for (size_t at = 0; staged && at < program->input_count; at++)
        copy_tensor(program, at);
    if (reset_failures(program) || staged)
        barrier(program, transfer, VK_ACCESS_TRANSFER_WRITE_BIT, compute,
                VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
    status = record_dispatches(program, what, message);
    if (status != ESPALIER_OK)
        return status;
    if (staged)
        barrier(program, compute | transfer, VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT, transfer,
                VK_ACCESS_TRANSFER_READ_BIT);
    for (size_t at = program->input_count; staged && at < program->tensor_count; at++)
        copy_tensor(program, at);
    barrier(program, staged ? transfer : compute, staged ? VK_ACCESS_TRANSFER_WRITE_BIT : VK_ACCESS_SHADER_WRITE_BIT,
            VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    return espalier_vulkan_end(program, message);
}
