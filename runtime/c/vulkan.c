/* See vulkan.h: the loader, the list of devices, opening one. Programs are in vulkan_program.c. */
#include "vulkan_device.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

enum { MOST_DEVICES = 64, MOST_FAMILIES = 32 };

/* An instance, on its way to a device. */
typedef struct {
    PFN_vkGetInstanceProcAddr get;
    VkInstance instance;
    espalier_vulkan_table vk;
    VkPhysicalDevice devices[MOST_DEVICES];
    uint32_t device_count;
} opened;

static const char VALIDATION[] = "VK_LAYER_KHRONOS_validation";

espalier_status espalier_vulkan_failed(char *message, VkResult result, const char *call)
{
    if (result == VK_ERROR_OUT_OF_HOST_MEMORY || result == VK_ERROR_OUT_OF_DEVICE_MEMORY)
        return espalier_fail(message, ESPALIER_OUT_OF_MEMORY, "%s: out of %s memory", call,
                             result == VK_ERROR_OUT_OF_HOST_MEMORY ? "host" : "device");
    if (result == VK_ERROR_DEVICE_LOST)
        return espalier_fail(message, ESPALIER_DEVICE_LOST, "%s: the device is lost", call);
    if (result == VK_ERROR_LAYER_NOT_PRESENT)
        return espalier_fail(message, ESPALIER_UNSUPPORTED, "the validation layer %s is not installed", VALIDATION);
    return espalier_fail(message, ESPALIER_UNSUPPORTED, "%s answered %d", call, (int)result);
}

int espalier_vulkan_memory_type(const espalier_gpu *gpu, uint32_t allowed, VkMemoryPropertyFlags flags)
{
    for (uint32_t type = 0; type < gpu->memory.memoryTypeCount; type++)
        if ((allowed >> type & 1) != 0 && (gpu->memory.memoryTypes[type].propertyFlags & flags) == flags)
            return (int)type;
    return -1;
}

static void hand_over(char *message, size_t message_bytes, const char *text)
{
    if (message != NULL && message_bytes > 0)
        snprintf(message, message_bytes, "%s", text);
}

/* -- the loader and an instance ------------------------------------------------------------------------------ */

static espalier_status open_loader(const char *name, PFN_vkGetInstanceProcAddr *get, char *message)
{
    static const char *const usual[] = {"libvulkan.so.1", "libvulkan.so"}; /* Android's has no number */
    void *library = NULL;
    if (name != NULL)
        library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    for (size_t at = 0; name == NULL && library == NULL && at < sizeof usual / sizeof *usual; at++)
        library = dlopen(usual[at], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return espalier_fail(message, ESPALIER_NO_DEVICE,
                             "there is no Vulkan loader: '%.80s' cannot be opened; install libvulkan1",
                             name != NULL ? name : usual[0]);
    void *symbol = dlsym(library, "vkGetInstanceProcAddr");
    memcpy(get, &symbol, sizeof *get); /* C99 has no conversion from an object's pointer to a function's */
    if (*get == NULL)
        return espalier_fail(message, ESPALIER_NO_DEVICE, "'%.80s' is no Vulkan loader",
                             name != NULL ? name : usual[0]);
    return ESPALIER_OK; /* the library stays open: drivers do not like to be loaded twice */
}

/* Whether the loader speaks Vulkan 1.1; 1.0 ones have no function to ask. */
static espalier_status check_version(PFN_vkGetInstanceProcAddr get, char *message)
{
    const PFN_vkEnumerateInstanceVersion ask =
        (PFN_vkEnumerateInstanceVersion)get(NULL, "vkEnumerateInstanceVersion");
    uint32_t version = VK_API_VERSION_1_0;
    if (ask != NULL)
        ask(&version);
    if (version < VK_API_VERSION_1_1)
        return espalier_fail(message, ESPALIER_UNSUPPORTED, "the Vulkan loader is of version 1.0; expected 1.1");
    return ESPALIER_OK;
}

static espalier_status create_instance(opened *open, const VkDebugUtilsMessengerCreateInfoEXT *report, char *message)
{
    static const VkValidationFeatureEnableEXT synchronisation =
        VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT;
    static const char *const layers[] = {VALIDATION};
    static const char *const extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME,
                                             VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME};
    const VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                           .pApplicationName = "espalier", .apiVersion = VK_API_VERSION_1_1};
    const VkValidationFeaturesEXT features = {.sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT, .pNext = report,
                                              .enabledValidationFeatureCount = 1,
                                              .pEnabledValidationFeatures = &synchronisation};
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &application};
    if (report != NULL) {
        info.pNext = &features;
        info.enabledLayerCount = 1;
        info.ppEnabledLayerNames = layers;
        info.enabledExtensionCount = 2;
        info.ppEnabledExtensionNames = extensions;
    }
    const PFN_vkCreateInstance create = (PFN_vkCreateInstance)open->get(NULL, "vkCreateInstance");
    const VkResult result = create(&info, NULL, &open->instance);
    if (result == VK_ERROR_INCOMPATIBLE_DRIVER) {
        const char *named = getenv("VK_ICD_FILENAMES");
        return espalier_fail(message, ESPALIER_NO_DEVICE, "there is no Vulkan driver%s%.120s",
                             named != NULL ? "; VK_ICD_FILENAMES is " : "", named != NULL ? named : "");
    }
    return result == VK_SUCCESS ? ESPALIER_OK : espalier_vulkan_failed(message, result, "vkCreateInstance");
}

static espalier_status fill_table(opened *open, char *message)
{
#define TAKE(name) \
    open->vk.name = (PFN_##name)open->get(open->instance, #name); \
    if (open->vk.name == NULL) \
        return espalier_fail(message, ESPALIER_UNSUPPORTED, "the Vulkan loader has no function " #name);
    ESPALIER_VULKAN_FUNCTIONS(TAKE)
#undef TAKE
    return ESPALIER_OK;
}

static espalier_status open_instance(const char *loader, const VkDebugUtilsMessengerCreateInfoEXT *report,
                                     opened *open, char *message)
{
    memset(open, 0, sizeof *open);
    espalier_status status = open_loader(loader, &open->get, message);
    if (status == ESPALIER_OK)
        status = check_version(open->get, message);
    if (status == ESPALIER_OK)
        status = create_instance(open, report, message);
    if (status != ESPALIER_OK)
        return status;
    status = fill_table(open, message);
    if (status == ESPALIER_OK) {
        open->device_count = MOST_DEVICES;
        const VkResult result = open->vk.vkEnumeratePhysicalDevices(open->instance, &open->device_count, open->devices);
        if (result != VK_SUCCESS && result != VK_INCOMPLETE)
            status = espalier_vulkan_failed(message, result, "vkEnumeratePhysicalDevices");
        else if (open->device_count == 0)
            status = espalier_fail(message, ESPALIER_NO_DEVICE, "Vulkan finds no device");
    }
    if (status != ESPALIER_OK && open->vk.vkDestroyInstance != NULL)
        open->vk.vkDestroyInstance(open->instance, NULL);
    return status;
}

/* -- the list ------------------------------------------------------------------------------------------------ */

static void describe_driver(const opened *open, VkPhysicalDevice device, espalier_gpu_info *info)
{
    VkPhysicalDeviceDriverProperties driver = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES};
    VkPhysicalDeviceProperties2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &driver};
    open->vk.vkGetPhysicalDeviceProperties2(device, &all);
    snprintf(info->driver, sizeof info->driver, "%s %s", driver.driverName, driver.driverInfo);
}

static uint32_t half_support(const opened *open, VkPhysicalDevice device)
{
    VkPhysicalDevice16BitStorageFeatures storage = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES};
    VkPhysicalDeviceShaderFloat16Int8Features arithmetic = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES, .pNext = &storage};
    VkPhysicalDeviceFeatures2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &arithmetic};
    open->vk.vkGetPhysicalDeviceFeatures2(device, &all);
    return (arithmetic.shaderFloat16 ? ESPALIER_GPU_FP16_ARITHMETIC : 0u) |
           (storage.storageBuffer16BitAccess ? ESPALIER_GPU_FP16_STORAGE : 0u);
}

static void describe(const opened *open, VkPhysicalDevice device, espalier_gpu_info *info)
{
    VkPhysicalDeviceProperties is;
    VkPhysicalDeviceMemoryProperties memory;
    open->vk.vkGetPhysicalDeviceProperties(device, &is);
    open->vk.vkGetPhysicalDeviceMemoryProperties(device, &memory);
    memset(info, 0, sizeof *info);
    snprintf(info->name, sizeof info->name, "%s", is.deviceName);
    info->major = VK_VERSION_MAJOR(is.apiVersion);
    info->minor = VK_VERSION_MINOR(is.apiVersion);
    info->patch = VK_VERSION_PATCH(is.apiVersion);
    info->type = (uint32_t)is.deviceType;
    info->workgroup = is.limits.maxComputeWorkGroupInvocations;
    info->storage_buffers = is.limits.maxPerStageDescriptorStorageBuffers;
    info->push_bytes = is.limits.maxPushConstantsSize;
    info->shared_bytes = is.limits.maxComputeSharedMemorySize;
    info->buffer_range = is.limits.maxStorageBufferRange;
    for (uint32_t heap = 0; heap < memory.memoryHeapCount; heap++)
        if ((memory.memoryHeaps[heap].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) != 0 &&
            memory.memoryHeaps[heap].size > info->memory)
            info->memory = memory.memoryHeaps[heap].size;
    if (is.apiVersion >= VK_API_VERSION_1_1)
        info->fp16 = half_support(open, device);
    if (is.apiVersion >= VK_API_VERSION_1_2)
        describe_driver(open, device, info);
    else
        snprintf(info->driver, sizeof info->driver, "version %u", is.driverVersion);
}

espalier_status espalier_gpu_list(const char *loader, espalier_gpu_info *infos, size_t capacity, size_t *count,
                                  char *message, size_t message_bytes)
{
    char text[ESPALIER_MESSAGE_BYTES] = "";
    opened open;
    if (count == NULL || (infos == NULL && capacity > 0)) {
        hand_over(message, message_bytes, "espalier_gpu_list: a null pointer");
        return ESPALIER_INVALID_ARGUMENT;
    }
    *count = 0;
    const espalier_status status = open_instance(loader, NULL, &open, text);
    hand_over(message, message_bytes, text);
    if (status != ESPALIER_OK)
        return status;
    *count = open.device_count;
    for (size_t at = 0; at < open.device_count && at < capacity; at++)
        describe(&open, open.devices[at], &infos[at]);
    open.vk.vkDestroyInstance(open.instance, NULL);
    return ESPALIER_OK;
}

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

static espalier_status choose(opened *open, int32_t wanted, espalier_gpu *gpu, char *message)
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

static espalier_status create(espalier_gpu *gpu, const espalier_gpu_options *options, char *message)
{
    VkDebugUtilsMessengerCreateInfoEXT report = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                           VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = remember, .pUserData = gpu};
    opened open;
    espalier_status status = open_instance(options->loader, options->validate ? &report : NULL, &open, message);
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
        gpu->fp16 = half_support(&open, gpu->physical);
        status = open_queue(gpu, message);
    }
    gpu->unified = !options->staging && gpu->properties.deviceType != VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU;
    return status;
}

espalier_status espalier_gpu_create(const espalier_gpu_options *options, espalier_gpu **gpu, char *message,
                                    size_t message_bytes)
{
    char text[ESPALIER_MESSAGE_BYTES] = "";
    if (gpu != NULL)
        *gpu = NULL;
    if (options == NULL || gpu == NULL) {
        hand_over(message, message_bytes, "espalier_gpu_create: a null pointer");
        return ESPALIER_INVALID_ARGUMENT;
    }
    espalier_gpu *made = calloc(1, sizeof *made);
    if (made == NULL) {
        hand_over(message, message_bytes, "out of memory");
        return ESPALIER_OUT_OF_MEMORY;
    }
    pthread_mutex_init(&made->queue_lock, NULL);
    pthread_mutex_init(&made->message_lock, NULL);
    const espalier_status status = create(made, options, text);
    hand_over(message, message_bytes, text);
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
        gpu->vk.vkDestroyDevice(gpu->device, NULL);
    if (gpu->messenger != VK_NULL_HANDLE)
        gpu->destroy_messenger(gpu->instance, gpu->messenger, NULL);
    if (gpu->instance != NULL)
        gpu->vk.vkDestroyInstance(gpu->instance, NULL);
    pthread_mutex_destroy(&gpu->queue_lock);
    pthread_mutex_destroy(&gpu->message_lock);
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
