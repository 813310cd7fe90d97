/* Whether a program's description fits itself and the device's limits: what a driver would crash on is an error
   with the kernel's name here. */
#include "support.h"
#include "vulkan_program.h"

enum { SPIRV_MAGIC = 0x07230203, SPIRV_HEADER = 20 };

static espalier_status check_kernel(const espalier_gpu *gpu, const espalier_gpu_kernel *kernel, char *message)
{
    const VkPhysicalDeviceLimits *limits = &gpu->properties.limits;
    if (kernel->name == NULL || kernel->words == NULL || kernel->bytes % 4 != 0 || kernel->bytes < SPIRV_HEADER ||
        (uintptr_t)kernel->words % 4 != 0 || espalier_read_u32(kernel->words) != SPIRV_MAGIC)
        return espalier_fail(message, ESPALIER_DAMAGED, "kernel '%.100s' is no SPIR-V",
                             kernel->name != NULL ? kernel->name : "");
    if (kernel->bindings > limits->maxPerStageDescriptorStorageBuffers ||
        kernel->bindings > ESPALIER_VULKAN_BINDINGS)
        return espalier_fail(message, ESPALIER_UNSUPPORTED, "kernel '%.100s' has %u storage buffers; expected at most %u",
                             kernel->name, kernel->bindings,
                             limits->maxPerStageDescriptorStorageBuffers < ESPALIER_VULKAN_BINDINGS
                                 ? limits->maxPerStageDescriptorStorageBuffers : ESPALIER_VULKAN_BINDINGS);
    if (kernel->push_bytes > limits->maxPushConstantsSize || kernel->push_bytes % 4 != 0)
        return espalier_fail(message, ESPALIER_UNSUPPORTED, "kernel '%.100s' has %u bytes of push constants; expected "
                             "a multiple of 4 and at most %u", kernel->name, kernel->push_bytes,
                             limits->maxPushConstantsSize);
    return ESPALIER_OK;
}

/* Whether the range lies in its buffer. `name` is said where it does not. */
static espalier_status check_range(const espalier_gpu_description *what, const espalier_gpu_range *range,
                                   const char *name, char *message)
{
    const uint64_t size = range->buffer == ESPALIER_GPU_WEIGHTS ? what->weight_bytes : what->activation_bytes;
    if (range->buffer > ESPALIER_GPU_ACTIVATIONS || range->bytes == 0 || range->offset > size ||
        range->bytes > size - range->offset)
        return espalier_fail(message, ESPALIER_INVALID_ARGUMENT,
                             "'%.80s' uses bytes %llu and %llu more of buffer %u, which has %llu", name,
                             (unsigned long long)range->offset, (unsigned long long)range->bytes, range->buffer,
                             (unsigned long long)size);
    if (range->buffer == ESPALIER_GPU_WEIGHTS && range->written)
        return espalier_fail(message, ESPALIER_INVALID_ARGUMENT, "'%.80s' writes weights", name);
    return ESPALIER_OK;
}

static espalier_status check_binding(const espalier_gpu *gpu, const espalier_gpu_description *what,
                                     const espalier_gpu_range *range, const char *name, char *message)
{
    const VkPhysicalDeviceLimits *limits = &gpu->properties.limits;
    if (range->offset % limits->minStorageBufferOffsetAlignment != 0)
        return espalier_fail(message, ESPALIER_UNSUPPORTED, "'%.80s' uses offset %llu; the device wants multiples of %llu",
                             name, (unsigned long long)range->offset,
                             (unsigned long long)limits->minStorageBufferOffsetAlignment);
    if (range->bytes > limits->maxStorageBufferRange)
        return espalier_fail(message, ESPALIER_UNSUPPORTED, "'%.80s' uses %llu bytes at once; the device takes %u", name,
                             (unsigned long long)range->bytes, limits->maxStorageBufferRange);
    return check_range(what, range, name, message);
}

static espalier_status check_dispatch(const espalier_gpu *gpu, const espalier_gpu_description *what, size_t number,
                                      char *message)
{
    const espalier_gpu_dispatch *dispatch = &what->dispatches[number];
    if (dispatch->kernel >= what->kernel_count)
        return espalier_fail(message, ESPALIER_INVALID_ARGUMENT, "dispatch %zu names kernel %u of %zu", number,
                             dispatch->kernel, what->kernel_count);
    const espalier_gpu_kernel *kernel = &what->kernels[dispatch->kernel];
    if ((dispatch->ranges == NULL && kernel->bindings > 0) || (dispatch->push == NULL && kernel->push_bytes > 0))
        return espalier_fail(message, ESPALIER_INVALID_ARGUMENT, "dispatch %zu: a null pointer", number);
    for (int axis = 0; axis < 3; axis++)
        if (dispatch->groups[axis] == 0 ||
            dispatch->groups[axis] > gpu->properties.limits.maxComputeWorkGroupCount[axis])
            return espalier_fail(message, ESPALIER_UNSUPPORTED, "kernel '%.100s' wants %u workgroups; expected 1 to %u",
                                 kernel->name, dispatch->groups[axis],
                                 gpu->properties.limits.maxComputeWorkGroupCount[axis]);
    espalier_status status = ESPALIER_OK;
    for (uint32_t at = 0; at < kernel->bindings && status == ESPALIER_OK; at++)
        status = check_binding(gpu, what, &dispatch->ranges[at], kernel->name, message);
    return status;
}

static espalier_status check_tensors(const espalier_gpu_description *what, const espalier_gpu_range *tensors,
                                     size_t count, const char *name, char *message)
{
    espalier_status status = ESPALIER_OK;
    for (size_t at = 0; at < count && status == ESPALIER_OK; at++) {
        status = check_range(what, &tensors[at], name, message);
        if (status == ESPALIER_OK && (tensors[at].buffer != ESPALIER_GPU_ACTIVATIONS || tensors[at].offset % 4 != 0))
            status = espalier_fail(message, ESPALIER_INVALID_ARGUMENT, "%s %zu is no aligned range of activations",
                                   name, at);
    }
    return status;
}

/* One word, and what it may say. */
static espalier_status check_failures(const espalier_gpu_description *what, char *message)
{
    if (what->failures == NULL)
        return ESPALIER_OK;
    for (size_t at = 0; at < what->message_count; at++)
        if (what->messages == NULL || what->messages[at] == NULL)
            return espalier_fail(message, ESPALIER_INVALID_ARGUMENT, "message %zu is a null pointer", at);
    if (what->failures->bytes != 4)
        return espalier_fail(message, ESPALIER_INVALID_ARGUMENT, "the failures have %llu bytes; expected 4",
                             (unsigned long long)what->failures->bytes);
    return check_tensors(what, what->failures, 1, "failures", message);
}

/* A word for the number of steps, and tensors of whole steps. */
static espalier_status check_steps(const espalier_gpu_description *what, char *message)
{
    if (what->most_steps == 0)
        return ESPALIER_OK;
    if (what->steps == NULL || what->free == NULL || what->steps->bytes != 4)
        return espalier_fail(message, ESPALIER_INVALID_ARGUMENT, "the free steps have no word of 4 bytes");
    size_t free_inputs = 0;
    for (size_t at = 0; at < what->input_count + what->output_count; at++) {
        const espalier_gpu_range *tensor =
            at < what->input_count ? &what->inputs[at] : &what->outputs[at - what->input_count];
        free_inputs += at < what->input_count && what->free[at] != 0;
        if (what->free[at] != 0 && tensor->bytes % what->most_steps != 0)
            return espalier_fail(message, ESPALIER_INVALID_ARGUMENT, "tensor %zu has no room for %u steps", at,
                                 what->most_steps);
    }
    if (free_inputs == 0)
        return espalier_fail(message, ESPALIER_INVALID_ARGUMENT, "no input tells the number of steps");
    return check_tensors(what, what->steps, 1, "steps", message);
}

espalier_status espalier_vulkan_check(const espalier_gpu *gpu, const espalier_gpu_description *what, char *message)
{
    if ((what->kernels == NULL && what->kernel_count > 0) || (what->dispatches == NULL && what->dispatch_count > 0) ||
        (what->inputs == NULL && what->input_count > 0) || (what->outputs == NULL && what->output_count > 0) ||
        (what->weights == NULL && what->weight_bytes > 0))
        return espalier_fail(message, ESPALIER_INVALID_ARGUMENT, "the description holds a null pointer");
    if ((what->fp16 & ~gpu->fp16) != 0)
        return espalier_fail(message, ESPALIER_UNSUPPORTED,
                             "'%.100s' has no %s, which --precision fp16 needs; compile with --precision fp32",
                             gpu->properties.deviceName,
                             (what->fp16 & ~gpu->fp16 & ESPALIER_GPU_FP16_ARITHMETIC) != 0
                                 ? "shaderFloat16" : "storageBuffer16BitAccess");
    espalier_status status = ESPALIER_OK;
    for (size_t at = 0; at < what->kernel_count && status == ESPALIER_OK; at++)
        status = check_kernel(gpu, &what->kernels[at], message);
    for (size_t at = 0; at < what->dispatch_count && status == ESPALIER_OK; at++)
        status = check_dispatch(gpu, what, at, message);
    if (status == ESPALIER_OK)
        status = check_tensors(what, what->inputs, what->input_count, "input", message);
    if (status == ESPALIER_OK)
        status = check_failures(what, message);
    if (status == ESPALIER_OK)
        status = check_steps(what, message);
    return status == ESPALIER_OK ? check_tensors(what, what->outputs, what->output_count, "output", message) : status;
}
