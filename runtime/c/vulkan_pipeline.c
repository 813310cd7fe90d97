/* A pipeline for each kernel of a program. */
#include <stdio.h>

#include "support.h"
#include "vulkan_program.h"

static VkResult make_layout(espalier_gpu *gpu, const espalier_gpu_kernel *kernel, espalier_vulkan_pipeline *made)
{
    VkDescriptorSetLayoutBinding bindings[ESPALIER_VULKAN_BINDINGS];
    for (uint32_t at = 0; at < kernel->bindings; at++)
        bindings[at] = (VkDescriptorSetLayoutBinding){
            .binding = at, .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT};
    const VkDescriptorSetLayoutCreateInfo sets = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
                                                  .bindingCount = kernel->bindings, .pBindings = bindings};
    const VkResult result = gpu->vk.vkCreateDescriptorSetLayout(gpu->device, &sets, NULL, &made->sets);
    if (result != VK_SUCCESS)
        return result;
    const VkPushConstantRange push = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = kernel->push_bytes};
    const VkPipelineLayoutCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO, .setLayoutCount = 1, .pSetLayouts = &made->sets,
        .pushConstantRangeCount = kernel->push_bytes > 0, .pPushConstantRanges = &push};
    return gpu->vk.vkCreatePipelineLayout(gpu->device, &info, NULL, &made->layout);
}

static VkResult make_pipeline(espalier_gpu *gpu, const espalier_gpu_kernel *kernel, espalier_vulkan_pipeline *made)
{
    VkResult result = make_layout(gpu, kernel, made);
    if (result != VK_SUCCESS)
        return result;
    const VkShaderModuleCreateInfo code = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                           .codeSize = kernel->bytes, .pCode = kernel->words};
    VkShaderModule module = VK_NULL_HANDLE;
    result = gpu->vk.vkCreateShaderModule(gpu->device, &code, NULL, &module);
    if (result != VK_SUCCESS)
        return result;
    const VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT, .module = module, .pName = "main"},
        .layout = made->layout, .basePipelineIndex = -1};
    result = gpu->vk.vkCreateComputePipelines(gpu->device, gpu->cache, 1, &info, NULL, &made->handle);
    gpu->vk.vkDestroyShaderModule(gpu->device, module, NULL);
    return result;
}

espalier_status espalier_vulkan_make_pipelines(espalier_gpu *gpu, const espalier_gpu_description *what,
                                               espalier_vulkan_pipeline *pipelines, char *message)
{
    for (size_t at = 0; at < what->kernel_count; at++) {
        const VkResult result = make_pipeline(gpu, &what->kernels[at], &pipelines[at]);
        if (result != VK_SUCCESS) {
            char call[160];
            snprintf(call, sizeof call, "making kernel '%.120s'", what->kernels[at].name);
            return espalier_vulkan_failed(message, result, call);
        }
    }
    espalier_vulkan_save_cache(gpu);
    return ESPALIER_OK;
}
