/* See vulkan.h: a device of our own, or an app's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "vulkan_instance.h"

enum { MOST_FAMILIES = 32 };

/* -- a device ------------------------------------------------------------------------------------------------ */

static VKAPI_ATTR VkBool32 VKAPI_CALL remember(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                               VkDebugUtilsMessageTypeFlagsEXT kind,
                                               const VkDebugUtilsMessengerCallbackDataEXT *data, void *user)
{
    espalier_gpu *gpu = user;
    (void)severity;
    (void)kind;
    pthread_mutex_lock(&gpu->message_lock);
    if (gpu->message_count++ == 0)
        snprintf(gpu->first_message, sizeof gpu->first_message, "%s", data->pMessage);
    pthread_mutex_unlock(&gpu->message_lock);
    return VK_FALSE;
}

static espalier_status choose(espalier_vulkan_instance *open, int32_t wanted, espalier_gpu *gpu, char *message)
{
    static const VkPhysicalDeviceType order[] = {VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
                                                 VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU};
    uint32_t chosen = wanted < 0 ? open->device_count : (uint32_t)wanted;
    for (size_t kind = 0; wanted < 0 && kind < 2 && chosen == open->device_count; kind++)
        for (uint32_t at = open->device_count; at-- > 0;) {
            open->vk.vkGetPhysicalDeviceProperties(open->devices[at], &gpu->properties);
            if (gpu->properties.deviceType == order[kind])
                chosen = at;
        }
    if (wanted < 0 && chosen == open->device_count)
        chosen = 0;
    if (chosen >= open->device_count)
        return espalier_fail(message, ESPALIER_NO_DEVICE, "there is no Vulkan device %d; expected 0 to %u",
                             (int)wanted, open->device_count - 1);
    gpu->physical = open->devices[chosen];
    open->vk.vkGetPhysicalDeviceProperties(gpu->physical, &gpu->properties);
    open->vk.vkGetPhysicalDeviceMemoryProperties(gpu->physical, &gpu->memory);
    if (gpu->properties.apiVersion < VK_API_VERSION_1_1)
        return espalier_fail(message, ESPALIER_UNSUPPORTED, "'%.100s' has Vulkan 1.0; expected 1.1 or later",
                             gpu->properties.deviceName);
    return ESPALIER_OK;
}

static VkResult create_device(espalier_gpu *gpu, const VkDeviceQueueCreateInfo *queue)
{
    VkPhysicalDevice16BitStorageFeatures storage = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES, .storageBuffer16BitAccess = VK_TRUE};
    VkPhysicalDeviceShaderFloat16Int8Features arithmetic = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES, .pNext = &storage,
        .shaderFloat16 = VK_TRUE};
    const char *const extensions[] = {VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME};
    const int halves = gpu->fp16 == (ESPALIER_GPU_FP16_ARITHMETIC | ESPALIER_GPU_FP16_STORAGE);
    const int core = gpu->properties.apiVersion >= VK_API_VERSION_1_2; /* where the extension is part of it */
    const VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, .pNext = halves ? &arithmetic : NULL,
                                     .queueCreateInfoCount = 1, .pQueueCreateInfos = queue,
                                     .enabledExtensionCount = halves && !core, .ppEnabledExtensionNames = extensions};
    return gpu->vk.vkCreateDevice(gpu->physical, &info, NULL, &gpu->device);
}

static espalier_status open_queue(espalier_gpu *gpu, char *message)
{
    VkQueueFamilyProperties families[MOST_FAMILIES];
    uint32_t count = MOST_FAMILIES;
    gpu->vk.vkGetPhysicalDeviceQueueFamilyProperties(gpu->physical, &count, families);
    while (gpu->family < count && (families[gpu->family].queueFlags & VK_QUEUE_COMPUTE_BIT) == 0)
        gpu->family++;
    if (gpu->family == count)
        return espalier_fail(message, ESPALIER_UNSUPPORTED, "'%.100s' has no queue that computes",
                             gpu->properties.deviceName);
    const float priority = 1;
    const VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                           .queueFamilyIndex = gpu->family, .queueCount = 1,
                                           .pQueuePriorities = &priority};
    const VkResult result = create_device(gpu, &queue);
    if (result != VK_SUCCESS)
        return espalier_vulkan_failed(message, result, "vkCreateDevice");
    gpu->vk.vkGetDeviceQueue(gpu->device, gpu->family, 0, &gpu->queue);
    return ESPALIER_OK;
}

/* The app's instance, device and queue as ours; it ends them itself. */
static espalier_status adopt(espalier_gpu *gpu, const espalier_gpu_app *app, char *message)
{
    espalier_vulkan_instance open = {.instance = (VkInstance)app->instance};
    memcpy(&open.get, &app->get_instance_proc_addr, sizeof open.get);
    if (app->instance == NULL || app->physical_device == NULL || app->device == NULL || app->queue == NULL ||
        open.get == NULL)
        return espalier_fail(message, ESPALIER_INVALID_ARGUMENT,
                             "espalier_gpu_create: the app's instance, device, queue or vkGetInstanceProcAddr is null");
    const espalier_status status = espalier_vulkan_fill_table(&open, message);
    if (status != ESPALIER_OK)
        return status;
    gpu->vk = open.vk;
    gpu->physical = (VkPhysicalDevice)app->physical_device;
    gpu->family = app->queue_family;
    gpu->fp16 = app->fp16;
    gpu->device = (VkDevice)app->device;
    gpu->queue = (VkQueue)app->queue;
    gpu->apps = 1;
    gpu->vk.vkGetPhysicalDeviceProperties(gpu->physical, &gpu->properties);
    gpu->vk.vkGetPhysicalDeviceMemoryProperties(gpu->physical, &gpu->memory);
    if (gpu->properties.apiVersion < VK_API_VERSION_1_1)
        return espalier_fail(message, ESPALIER_UNSUPPORTED, "'%.100s' has Vulkan 1.0; expected 1.1 or later",
                             gpu->properties.deviceName);
    return ESPALIER_OK;
}

static espalier_status create(espalier_gpu *gpu, const espalier_gpu_options *options, char *message)
{
    VkDebugUtilsMessengerCreateInfoEXT report = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                           VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = remember, .pUserData = gpu};
    espalier_vulkan_instance open;
    espalier_status status = espalier_vulkan_open(options->loader, options->validate ? &report : NULL, &open, message);
    if (status != ESPALIER_OK)
        return status;
    gpu->instance = open.instance;
    gpu->vk = open.vk;
    if (options->validate) {
        const PFN_vkCreateDebugUtilsMessengerEXT start = (PFN_vkCreateDebugUtilsMessengerEXT)open.get(
            open.instance, "vkCreateDebugUtilsMessengerEXT");
        gpu->destroy_messenger = (PFN_vkDestroyDebugUtilsMessengerEXT)open.get(
            open.instance, "vkDestroyDebugUtilsMessengerEXT");
        if (start == NULL || start(gpu->instance, &report, NULL, &gpu->messenger) != VK_SUCCESS)
            return espalier_fail(message, ESPALIER_UNSUPPORTED, "the validation layer reports nothing");
    }
    status = choose(&open, options->device, gpu, message);
    if (status == ESPALIER_OK) {
        gpu->fp16 = espalier_vulkan_halves(&open, gpu->physical);
        status = open_queue(gpu, message);
    }
    return status;
}

espalier_status espalier_gpu_create(const espalier_gpu_options *options, espalier_gpu **gpu, char *message,
                                    size_t message_bytes)
{
    char text[ESPALIER_MESSAGE_BYTES] = "";
    if (gpu != NULL)
        *gpu = NULL;
    if (options == NULL || gpu == NULL) {
        espalier_vulkan_hand_over(message, message_bytes, "espalier_gpu_create: a null pointer");
        return ESPALIER_INVALID_ARGUMENT;
    }
    espalier_gpu *made = calloc(1, sizeof *made);
    if (made == NULL) {
        espalier_vulkan_hand_over(message, message_bytes, "out of memory");
        return ESPALIER_OUT_OF_MEMORY;
    }
    pthread_mutex_init(&made->queue_lock, NULL);
    pthread_mutex_init(&made->message_lock, NULL);
    pthread_mutex_init(&made->cache_lock, NULL);
    espalier_status status = options->app != NULL ? adopt(made, options->app, text) : create(made, options, text);
    made->unified = !options->staging && made->properties.deviceType != VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU;
    made->timestamps = options->timestamps != 0 && made->properties.limits.timestampComputeAndGraphics;
    if (status == ESPALIER_OK)
        status = espalier_vulkan_open_cache(made, options->cache, text);
    espalier_vulkan_hand_over(message, message_bytes, text);
    if (status == ESPALIER_OK)
        *gpu = made;
    else
        espalier_gpu_destroy(made);
    return status;
}

void espalier_gpu_destroy(espalier_gpu *gpu)
{
    if (gpu == NULL)
        return;
    if (gpu->device != NULL)
        espalier_vulkan_close_cache(gpu);
    if (gpu->device != NULL && !gpu->apps)
        gpu->vk.vkDestroyDevice(gpu->device, NULL);
    if (gpu->messenger != VK_NULL_HANDLE)
        gpu->destroy_messenger(gpu->instance, gpu->messenger, NULL);
    if (gpu->instance != NULL)
        gpu->vk.vkDestroyInstance(gpu->instance, NULL);
    pthread_mutex_destroy(&gpu->queue_lock);
    pthread_mutex_destroy(&gpu->message_lock);
    pthread_mutex_destroy(&gpu->cache_lock);
    free(gpu);
}

uint32_t espalier_gpu_message_count(espalier_gpu *gpu)
{
    pthread_mutex_lock(&gpu->message_lock);
    const uint32_t count = gpu->message_count;
    pthread_mutex_unlock(&gpu->message_lock);
    return count;
}

const char *espalier_gpu_first_message(espalier_gpu *gpu) { return gpu->first_message; }
