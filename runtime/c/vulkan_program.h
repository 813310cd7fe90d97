/* What the files of a program share: its buffers and pipelines. */
#ifndef ESPALIER_VULKAN_PROGRAM_H
#define ESPALIER_VULKAN_PROGRAM_H

#include "vulkan_device.h"

/* The most storage buffers of a kernel that we make room for. */
#define ESPALIER_VULKAN_BINDINGS 16u

typedef struct espalier_vulkan_buffer {
    VkBuffer handle;
    VkDeviceMemory memory;
    uint64_t bytes;
    uint8_t *mapped; /* null where the host does not see it */
} espalier_vulkan_buffer;

typedef struct espalier_vulkan_pipeline {
    VkDescriptorSetLayout sets;
    VkPipelineLayout layout;
    VkPipeline handle;
} espalier_vulkan_pipeline;

/* A storage buffer of at least `bytes`, mapped where `host` says so; `made` may be half made after a failure,
   and is freed all the same. */
espalier_status espalier_vulkan_make_buffer(espalier_gpu *gpu, uint64_t bytes, int host,
                                            espalier_vulkan_buffer *made, char *message);
void espalier_vulkan_free_buffer(espalier_gpu *gpu, espalier_vulkan_buffer *freed);

/* One for each of the description's kernels; a failure names the kernel. */
espalier_status espalier_vulkan_make_pipelines(espalier_gpu *gpu, const espalier_gpu_description *what,
                                               espalier_vulkan_pipeline *pipelines, char *message);

/* Whether the description fits itself and the device's limits. */
espalier_status espalier_vulkan_check(const espalier_gpu *gpu, const espalier_gpu_description *what,
                                      char *message);

#endif
