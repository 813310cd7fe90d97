/* What the Vulkan files share: the table of functions, taken from the loader at run time, and the open device. */
#ifndef ESPALIER_VULKAN_DEVICE_H
#define ESPALIER_VULKAN_DEVICE_H

#define VK_NO_PROTOTYPES
#include <pthread.h>
#include <vulkan/vulkan_core.h>

#include "vulkan.h"

#define ESPALIER_VULKAN_FUNCTIONS(X) \
    X(vkDestroyInstance) X(vkEnumeratePhysicalDevices) X(vkGetPhysicalDeviceProperties) \
    X(vkGetPhysicalDeviceProperties2) X(vkGetPhysicalDeviceFeatures2) X(vkGetPhysicalDeviceMemoryProperties) \
    X(vkGetPhysicalDeviceQueueFamilyProperties) X(vkCreateDevice) X(vkDestroyDevice) X(vkGetDeviceQueue) \
    X(vkCreateBuffer) X(vkDestroyBuffer) X(vkGetBufferMemoryRequirements) X(vkAllocateMemory) X(vkFreeMemory) \
    X(vkBindBufferMemory) X(vkMapMemory) X(vkCreateShaderModule) X(vkDestroyShaderModule) \
    X(vkCreateDescriptorSetLayout) X(vkDestroyDescriptorSetLayout) X(vkCreatePipelineLayout) \
    X(vkDestroyPipelineLayout) X(vkCreateComputePipelines) X(vkDestroyPipeline) X(vkCreateDescriptorPool) \
    X(vkDestroyDescriptorPool) X(vkAllocateDescriptorSets) X(vkUpdateDescriptorSets) X(vkCreateCommandPool) \
    X(vkDestroyCommandPool) X(vkAllocateCommandBuffers) X(vkBeginCommandBuffer) X(vkEndCommandBuffer) \
    X(vkCmdBindPipeline) X(vkCmdBindDescriptorSets) X(vkCmdPushConstants) X(vkCmdDispatch) \
    X(vkCmdPipelineBarrier) X(vkCmdCopyBuffer) X(vkCmdFillBuffer) X(vkCreateFence) X(vkDestroyFence) X(vkResetFences) \
    X(vkWaitForFences) X(vkQueueSubmit) X(vkCreatePipelineCache) X(vkDestroyPipelineCache) \
    X(vkGetPipelineCacheData) X(vkCreateQueryPool) X(vkDestroyQueryPool) X(vkCmdResetQueryPool) \
    X(vkCmdWriteTimestamp) X(vkGetQueryPoolResults)

#define ESPALIER_VULKAN_MEMBER(name) PFN_##name name;
typedef struct espalier_vulkan_table {
    ESPALIER_VULKAN_FUNCTIONS(ESPALIER_VULKAN_MEMBER)
} espalier_vulkan_table;

struct espalier_gpu {
    espalier_vulkan_table vk;
    VkInstance instance;
    VkDebugUtilsMessengerEXT messenger;
    PFN_vkDestroyDebugUtilsMessengerEXT destroy_messenger;
    VkPhysicalDevice physical;
    VkPhysicalDeviceProperties properties;
    VkPhysicalDeviceMemoryProperties memory;
    VkDevice device;
    uint32_t fp16;                /* ESPALIER_GPU_FP16_*: what the device has, and was asked for */
    uint32_t family;
    VkQueue queue;
    int apps;                     /* device and queue are an app's, which ends them */
    int timestamps;               /* programs measure each dispatch */
    VkPipelineCache cache;        /* null where none is kept */
    char *cache_path;
    size_t cache_bytes;           /* of what the file holds */
    pthread_mutex_t cache_lock;
    int unified;                  /* the host writes and reads the device's memory in place */
    pthread_mutex_t queue_lock;   /* a queue takes one thread's submit at a time */
    pthread_mutex_t message_lock; /* the layer may report while the queue is locked */
    uint32_t message_count;
    char first_message[1024];
};

/* `call` answered `result`: writes the message and returns the status. */
espalier_status espalier_vulkan_failed(char *message, VkResult result, const char *call);

/* Takes over what the file `path` (null: none is kept) holds, if it is this driver's and whole. */
espalier_status espalier_vulkan_open_cache(espalier_gpu *gpu, const char *path, char *message);

/* Writes the cache where it has grown. A file that cannot be written is no error: the cache saves time alone. */
void espalier_vulkan_save_cache(espalier_gpu *gpu);
void espalier_vulkan_close_cache(espalier_gpu *gpu);

/* The number of a type of memory among the bits `allowed` with all `flags`; -1 where there is none. */
int espalier_vulkan_memory_type(const espalier_gpu *gpu, uint32_t allowed, VkMemoryPropertyFlags flags);

#endif
