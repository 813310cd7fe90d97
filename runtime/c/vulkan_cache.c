/* The pipeline cache in a file: a driver's own bytes behind a header that says whose they are.

       "ESPC", u32 length of the rest, u64 hash of the rest; the driver's bytes, which begin with
       VkPipelineCacheHeaderVersionOne

   Drivers have crashed on damaged caches, so one that is not whole, or another driver's, is not shown to it: it
   is written anew. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support.h"
#include "vulkan_device.h"

enum { HEADER = 16, DRIVERS_HEADER = 32, LONGEST_PATH = 4096 };

/* FNV-1a, 64 bits. */
static uint64_t hash_of(const uint8_t *data, size_t size)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t at = 0; at < size; at++)
        hash = (hash ^ data[at]) * 1099511628211u;
    return hash;
}

/* The driver's bytes in a file's; empty where they are damaged, or another driver's. */
static espalier_bytes usable(const espalier_gpu *gpu, espalier_bytes file)
{
    const espalier_bytes none = {NULL, 0};
    if (file.size < HEADER + DRIVERS_HEADER || memcmp(file.data, "ESPC", 4) != 0)
        return none;
    const espalier_bytes own = {file.data + HEADER, file.size - HEADER};
    if (espalier_read_u32(file.data + 4) != own.size || espalier_read_u64(file.data + 8) != hash_of(own.data, own.size))
        return none;
    if (espalier_read_u32(own.data) < DRIVERS_HEADER ||
        espalier_read_u32(own.data + 4) != VK_PIPELINE_CACHE_HEADER_VERSION_ONE ||
        espalier_read_u32(own.data + 8) != gpu->properties.vendorID ||
        espalier_read_u32(own.data + 12) != gpu->properties.deviceID ||
        memcmp(own.data + 16, gpu->properties.pipelineCacheUUID, VK_UUID_SIZE) != 0)
        return none;
    return own;
}

espalier_status espalier_vulkan_open_cache(espalier_gpu *gpu, const char *path, char *message)
{
    if (path == NULL)
        return ESPALIER_OK;
    if (strlen(path) > LONGEST_PATH)
        return espalier_fail(message, ESPALIER_INVALID_ARGUMENT, "the pipeline cache's path is too long");
    gpu->cache_path = malloc(strlen(path) + 1);
    if (gpu->cache_path == NULL)
        return espalier_fail(message, ESPALIER_OUT_OF_MEMORY, "no memory for the pipeline cache");
    memcpy(gpu->cache_path, path, strlen(path) + 1);
    char ignored[ESPALIER_MESSAGE_BYTES];
    espalier_bytes file = {NULL, 0};
    const int there = espalier_map_file(path, &file, ignored) == ESPALIER_OK;
    const espalier_bytes known = there ? usable(gpu, file) : file;
    const VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
                                            .initialDataSize = known.size, .pInitialData = known.data};
    const VkResult result = gpu->vk.vkCreatePipelineCache(gpu->device, &info, NULL, &gpu->cache);
    gpu->cache_bytes = known.size;
    if (there)
        munmap((void *)(uintptr_t)file.data, file.size);
    return result == VK_SUCCESS ? ESPALIER_OK : espalier_vulkan_failed(message, result, "vkCreatePipelineCache");
}

/* Into a file beside the one that is meant, which then takes its place: nobody reads half a cache. */
static int write_file(const char *path, const uint8_t *header, const uint8_t *data, size_t size)
{
    char beside[LONGEST_PATH + 32];
    snprintf(beside, sizeof beside, "%s.%ld", path, (long)getpid());
    FILE *stream = fopen(beside, "wb");
    if (stream == NULL)
        return 0;
    const int whole = fwrite(header, 1, HEADER, stream) == HEADER && fwrite(data, 1, size, stream) == size;
    if ((fclose(stream) == 0) && whole && rename(beside, path) == 0)
        return 1;
    remove(beside);
    return 0;
}

static void put(uint8_t *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

void espalier_vulkan_save_cache(espalier_gpu *gpu)
{
    if (gpu->cache == VK_NULL_HANDLE)
        return;
    pthread_mutex_lock(&gpu->cache_lock);
    size_t size = 0;
    VkResult result = gpu->vk.vkGetPipelineCacheData(gpu->device, gpu->cache, &size, NULL);
    uint8_t *data = result == VK_SUCCESS && size != gpu->cache_bytes ? malloc(size + 1) : NULL;
    if (data != NULL && gpu->vk.vkGetPipelineCacheData(gpu->device, gpu->cache, &size, data) == VK_SUCCESS) {
        uint8_t header[HEADER] = {'E', 'S', 'P', 'C'};
        put(header + 4, size, 4);
        put(header + 8, hash_of(data, size), 8);
        if (write_file(gpu->cache_path, header, data, size))
            gpu->cache_bytes = size;
    }
    free(data);
    pthread_mutex_unlock(&gpu->cache_lock);
}

void espalier_vulkan_close_cache(espalier_gpu *gpu)
{
    gpu->vk.vkDestroyPipelineCache(gpu->device, gpu->cache, NULL);
    free(gpu->cache_path);
    gpu->cache_path = NULL;
}
