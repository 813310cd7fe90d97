/* What the files of a program share: its buffers, pipelines and recording. */
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

struct espalier_gpu_program {
    espalier_gpu *gpu;
    espalier_vulkan_buffer buffers[2];   /* ESPALIER_GPU_WEIGHTS, ESPALIER_GPU_ACTIVATIONS */
    espalier_vulkan_buffer staging;      /* inputs, then outputs; not on unified memory */
    uint64_t *staged;    /* where each lies in it */
    espalier_gpu_range *tensors; /* inputs, the word of the steps where they are free, outputs, then the failures
                                    where there are messages */
    uint64_t *step_bytes;        /* of each tensor, for a step; 0 where it is fixed */
    uint32_t most_steps;
    size_t input_count, output_count, /* a caller's inputs, and the word of the steps */ tensor_count, pipeline_count, dispatch_count, message_count;
    char **messages;
    espalier_vulkan_pipeline *pipelines;
    VkDescriptorPool descriptors;
    VkCommandPool pool;
    VkCommandBuffer commands;
    VkFence fence;
    VkQueryPool queries; /* a timestamp before the first dispatch and behind each; null where none are asked for */
};

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

/* Pools of descriptors, commands and timestamps, and the fence. */
espalier_status espalier_vulkan_make_pools(espalier_gpu_program *program, const espalier_gpu_description *what,
                                           char *message);

/* What each run submits. */
espalier_status espalier_vulkan_record(espalier_gpu_program *program, const espalier_gpu_description *what,
                                       char *message);

/* Around what is recorded. */
espalier_status espalier_vulkan_begin(espalier_gpu_program *program, char *message);
espalier_status espalier_vulkan_end(espalier_gpu_program *program, char *message);

#endif
