/* See vulkan.h: the loader, an instance, the list of devices. Opening one is in vulkan_gpu.c. */
#include "vulkan_instance.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"

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

void espalier_vulkan_hand_over(char *message, size_t message_bytes, const char *text)
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

static espalier_status create_instance(espalier_vulkan_instance *open, const VkDebugUtilsMessengerCreateInfoEXT *report, char *message)
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

espalier_status espalier_vulkan_fill_table(espalier_vulkan_instance *open, char *message)
{
#define TAKE(name) \
    open->vk.name = (PFN_##name)open->get(open->instance, #name); \
    if (open->vk.name == NULL) \
        return espalier_fail(message, ESPALIER_UNSUPPORTED, "the Vulkan loader has no function " #name);
    ESPALIER_VULKAN_FUNCTIONS(TAKE)
#undef TAKE
    return ESPALIER_OK;
}

espalier_status espalier_vulkan_open(const char *loader, const VkDebugUtilsMessengerCreateInfoEXT *report,
                                     espalier_vulkan_instance *open, char *message)
{
    memset(open, 0, sizeof *open);
    espalier_status status = open_loader(loader, &open->get, message);
    if (status == ESPALIER_OK)
        status = check_version(open->get, message);
    if (status == ESPALIER_OK)
        status = create_instance(open, report, message);
    if (status != ESPALIER_OK)
        return status;
    status = espalier_vulkan_fill_table(open, message);
    if (status == ESPALIER_OK) {
        open->device_count = ESPALIER_VULKAN_MOST_DEVICES;
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

static void describe_driver(const espalier_vulkan_instance *open, VkPhysicalDevice device, espalier_gpu_info *info)
{
    VkPhysicalDeviceDriverProperties driver = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES};
    VkPhysicalDeviceProperties2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &driver};
    open->vk.vkGetPhysicalDeviceProperties2(device, &all);
    snprintf(info->driver, sizeof info->driver, "%s %s", driver.driverName, driver.driverInfo);
}

uint32_t espalier_vulkan_halves(const espalier_vulkan_instance *open, VkPhysicalDevice device)
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

static void describe(const espalier_vulkan_instance *open, VkPhysicalDevice device, espalier_gpu_info *info)
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
        info->fp16 = espalier_vulkan_halves(open, device);
    if (is.apiVersion >= VK_API_VERSION_1_2)
        describe_driver(open, device, info);
    else
        snprintf(info->driver, sizeof info->driver, "version %u", is.driverVersion);
}

espalier_status espalier_gpu_list(const char *loader, espalier_gpu_info *infos, size_t capacity, size_t *count,
                                  char *message, size_t message_bytes)
{
    char text[ESPALIER_MESSAGE_BYTES] = "";
    espalier_vulkan_instance open;
    if (count == NULL || (infos == NULL && capacity > 0)) {
        espalier_vulkan_hand_over(message, message_bytes, "espalier_gpu_list: a null pointer");
        return ESPALIER_INVALID_ARGUMENT;
    }
    *count = 0;
    const espalier_status status = espalier_vulkan_open(loader, NULL, &open, text);
    espalier_vulkan_hand_over(message, message_bytes, text);
    if (status != ESPALIER_OK)
        return status;
    *count = open.device_count;
    for (size_t at = 0; at < open.device_count && at < capacity; at++)
        describe(&open, open.devices[at], &infos[at]);
    open.vk.vkDestroyInstance(open.instance, NULL);
    return ESPALIER_OK;
}
