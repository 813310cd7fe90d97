/* A program's buffers, each with memory of its own: there are three at most. */
#include <string.h>

#include "support.h"
#include "vulkan_program.h"

enum { SMALLEST_BUFFER = 256 };

espalier_status espalier_vulkan_make_buffer(espalier_gpu *gpu, uint64_t bytes, int host, espalier_vulkan_buffer *made, char *message)
{
    const espalier_vulkan_table *vk = &gpu->vk;
    const VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, .size = bytes > SMALLEST_BUFFER ? bytes : SMALLEST_BUFFER,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                 VK_BUFFER_USAGE_TRANSFER_DST_BIT};
    VkResult result = vk->vkCreateBuffer(gpu->device, &info, NULL, &made->handle);
    if (result != VK_SUCCESS)
        return espalier_vulkan_failed(message, result, "vkCreateBuffer");
    made->bytes = info.size;
    VkMemoryRequirements needs;
    vk->vkGetBufferMemoryRequirements(gpu->device, made->handle, &needs);
    const VkMemoryPropertyFlags seen = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    const VkMemoryPropertyFlags best = host ? seen | VK_MEMORY_PROPERTY_HOST_CACHED_BIT
                                            : (VkMemoryPropertyFlags)VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
    int type = espalier_vulkan_memory_type(gpu, needs.memoryTypeBits, best);
    if (type < 0)
        type = espalier_vulkan_memory_type(gpu, needs.memoryTypeBits, host ? seen : 0);
    if (type < 0)
        return espalier_fail(message, ESPALIER_UNSUPPORTED, "the device has no memory that the host sees");
    const VkMemoryAllocateInfo allocation = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                             .allocationSize = needs.size, .memoryTypeIndex = (uint32_t)type};
    result = vk->vkAllocateMemory(gpu->device, &allocation, NULL, &made->memory);
    if (result == VK_SUCCESS)
        result = vk->vkBindBufferMemory(gpu->device, made->handle, made->memory, 0);
    void *mapped = NULL;
    if (result == VK_SUCCESS && host)
        result = vk->vkMapMemory(gpu->device, made->memory, 0, VK_WHOLE_SIZE, 0, &mapped);
    made->mapped = mapped;
    if (result != VK_SUCCESS)
        return espalier_vulkan_failed(message, result, "a buffer's memory");
    return ESPALIER_OK;
}

void espalier_vulkan_free_buffer(espalier_gpu *gpu, espalier_vulkan_buffer *freed)
{
    gpu->vk.vkDestroyBuffer(gpu->device, freed->handle, NULL);
    gpu->vk.vkFreeMemory(gpu->device, freed->memory, NULL);
    memset(freed, 0, sizeof *freed);
}
