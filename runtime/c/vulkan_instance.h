/* An instance, on its way to a device. */
#ifndef ESPALIER_VULKAN_INSTANCE_H
#define ESPALIER_VULKAN_INSTANCE_H

#include "vulkan_device.h"

enum { ESPALIER_VULKAN_MOST_DEVICES = 64 };

typedef struct espalier_vulkan_instance {
    PFN_vkGetInstanceProcAddr get;
    VkInstance instance;
    espalier_vulkan_table vk;
    VkPhysicalDevice devices[ESPALIER_VULKAN_MOST_DEVICES];
    uint32_t device_count;
} espalier_vulkan_instance;

/* Opens the loader, an instance with what `report` asks for (which may be null), and lists its devices. */
espalier_status espalier_vulkan_open(const char *loader, const VkDebugUtilsMessengerCreateInfoEXT *report,
                                     espalier_vulkan_instance *open, char *message);

/* The functions of `open->instance`, taken through `open->get`. */
espalier_status espalier_vulkan_fill_table(espalier_vulkan_instance *open, char *message);

/* ESPALIER_GPU_FP16_* that the device has. */
uint32_t espalier_vulkan_halves(const espalier_vulkan_instance *open, VkPhysicalDevice device);

/* Copies `text` into a caller's buffer, which may be null. */
void espalier_vulkan_hand_over(char *message, size_t message_bytes, const char *text);

#endif
