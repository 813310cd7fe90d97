/* Reads a GPU's program as a model file keeps it (runtime/executors/vulkan_program.py has the layout). */
#ifndef ESPALIER_VULKAN_CODE_H
#define ESPALIER_VULKAN_CODE_H

#include "support.h"
#include "vulkan.h"

/* A description, and the lists that it points to. Names and words lie in the member. */
typedef struct espalier_vulkan_code {
    espalier_gpu_description description;
    espalier_gpu_kernel *kernels;
    espalier_gpu_dispatch *dispatches;
    espalier_gpu_range *ranges; /* of all dispatches, then of inputs and outputs, then the failures, then the steps */
    const char **messages;
    uint32_t *free; /* of inputs, then outputs */
    const uint8_t *digest;      /* of the weights: ESPALIER_DIGEST_BYTES, in the member */
} espalier_vulkan_code;

/* The member must stay where it is, aligned to 4 bytes, while the code is used; free it in any case. */
espalier_status espalier_vulkan_code_read(espalier_bytes member, espalier_vulkan_code *code, char *message);
void espalier_vulkan_code_free(espalier_vulkan_code *code);

#endif
