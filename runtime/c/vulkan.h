/* Runs compiled kernels on a GPU through Vulkan 1.1: devices, and programs, which are recorded once and then
   cost one submit a run.

       espalier_gpu_options options = {.device = -1};
       espalier_gpu *gpu = NULL;
       if (espalier_gpu_create(&options, &gpu, message, sizeof message))
           return fail(message);
       espalier_gpu_program *program = NULL;
       if (espalier_gpu_program_create(gpu, &description, &program, message, sizeof message))
           return fail(message);
       if (espalier_gpu_program_run(program, inputs, 1, outputs, 1, message, sizeof message))
           return fail(message);
       espalier_gpu_program_destroy(program);
       espalier_gpu_destroy(gpu);

   The Vulkan loader is opened at run time, so a program that is linked with this starts where there is none.
   Threads: a device may be shared by programs on different threads; one program serves one call at a time. */
#ifndef ESPALIER_VULKAN_H
#define ESPALIER_VULKAN_H

#include "espalier.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct espalier_gpu espalier_gpu;
typedef struct espalier_gpu_program espalier_gpu_program;

#define ESPALIER_GPU_FP16_ARITHMETIC 1u /* shaderFloat16 */
#define ESPALIER_GPU_FP16_STORAGE 2u    /* storageBuffer16BitAccess */

typedef struct espalier_gpu_info {
    char name[256];
    char driver[512];             /* name and version, as the driver gives them */
    uint32_t major, minor, patch; /* the version of Vulkan */
    uint32_t type;                /* VkPhysicalDeviceType: 1 integrated, 2 discrete, 3 virtual, 4 processor */
    uint32_t fp16;                /* ESPALIER_GPU_FP16_*; 0 below Vulkan 1.1 */
    uint32_t workgroup;           /* the most threads of a workgroup */
    uint32_t storage_buffers;     /* the most that one kernel may have */
    uint32_t push_bytes;          /* the most bytes of push constants */
    uint32_t shared_bytes;        /* a workgroup's memory */
    uint64_t memory;              /* bytes of the largest device-local heap */
    uint64_t buffer_range;        /* the most bytes of a storage buffer that a kernel sees */
} espalier_gpu_info;

/* What an app has opened already, as Vulkan's own handles (this header needs none of Vulkan's). The app ends them,
   after the espalier_gpu, and does not use the queue while a model is created or runs. */
typedef struct espalier_gpu_app {
    void *instance, *physical_device, *device, *queue; /* VkInstance, VkPhysicalDevice, VkDevice, VkQueue */
    void (*get_instance_proc_addr)(void);              /* vkGetInstanceProcAddr */
    uint32_t queue_family;                             /* of the queue, which must compute */
    uint32_t fp16;                                     /* ESPALIER_GPU_FP16_*: features that the device was made with */
} espalier_gpu_app;

typedef struct espalier_gpu_options {
    int32_t device;     /* its number in `espalier_gpu_list`; -1: discrete, then integrated, then any */
    uint32_t validate;  /* 1: with the Khronos validation layer, whose messages are counted */
    uint32_t staging;   /* 1: copy inputs and outputs even where the host sees the device's memory */
    const char *loader; /* the Vulkan loader's library; null: the system's */
    const char *cache;  /* a file where the driver's compiled kernels are kept; null: none. Another driver's, or a
                           damaged one, is written anew */
    uint32_t timestamps;         /* 1: programs measure each dispatch (espalier_profile), which costs some time */
    const espalier_gpu_app *app; /* null: a device of our own */
} espalier_gpu_options;

/* Writes what is known of up to `capacity` devices, and how many there are to `count`. */
ESPALIER_API espalier_status espalier_gpu_list(const char *loader, espalier_gpu_info *infos, size_t capacity,
                                               size_t *count, char *message, size_t message_bytes);

/* Opens a device of Vulkan 1.1 or later with one compute queue. On failure *gpu is null and `message` (which
   may be null) says why: ESPALIER_NO_DEVICE without a loader, driver or that device, ESPALIER_UNSUPPORTED. */
ESPALIER_API espalier_status espalier_gpu_create(const espalier_gpu_options *options, espalier_gpu **gpu,
                                                 char *message, size_t message_bytes);

/* Its programs must be gone. A null pointer is fine. */
ESPALIER_API void espalier_gpu_destroy(espalier_gpu *gpu);

/* How many warnings and errors the validation layer has reported, and the first of them (never null). */
ESPALIER_API uint32_t espalier_gpu_message_count(espalier_gpu *gpu);
ESPALIER_API const char *espalier_gpu_first_message(espalier_gpu *gpu);

typedef struct espalier_gpu_kernel {
    const char *name;      /* for messages, and nothing else */
    const void *words;     /* SPIR-V with an entry point `main`, aligned to 4 bytes */
    size_t bytes;
    uint32_t bindings;     /* storage buffers, set 0, bindings 0, 1, ... */
    uint32_t push_bytes;
} espalier_gpu_kernel;

enum { ESPALIER_GPU_WEIGHTS = 0, ESPALIER_GPU_ACTIVATIONS = 1 };

/* A range of one of the program's two buffers. */
typedef struct espalier_gpu_range {
    uint32_t buffer;  /* ESPALIER_GPU_WEIGHTS or ESPALIER_GPU_ACTIVATIONS */
    uint32_t written; /* 1 where the kernel writes it: only activations may be */
    uint64_t offset, bytes;
} espalier_gpu_range;

typedef struct espalier_gpu_dispatch {
    uint32_t kernel;
    uint32_t groups[3];
    const espalier_gpu_range *ranges; /* one for each of the kernel's bindings */
    const void *push;                 /* the kernel's `push_bytes` */
} espalier_gpu_dispatch;

/* What is run, in order. Nothing of it has to outlive the call that takes it. `inputs` and `outputs` are ranges of
   the activations; a dispatch waits for those before it whose memory it needs, and for no other. */
typedef struct espalier_gpu_description {
    const espalier_gpu_kernel *kernels;
    const espalier_gpu_dispatch *dispatches;
    const espalier_gpu_range *inputs, *outputs;
    size_t kernel_count, dispatch_count, input_count, output_count;
    const void *weights;
    uint64_t weight_bytes, activation_bytes;
    uint32_t fp16;                /* ESPALIER_GPU_FP16_*: what its kernels need of the device */
    const espalier_gpu_range *failures; /* null, or 4 bytes of the activations: 2^32 - 1 before the first dispatch;
                                           a kernel that finds something wrong leaves a message's number, from 1 */
    const char *const *messages;
    size_t message_count;
    uint32_t most_steps;             /* 0: all sizes are fixed */
    const espalier_gpu_range *steps; /* 4 bytes of the activations, where a run puts its number of time steps */
    const uint32_t *free;            /* for each input, then output: 1 where a run's size is that of its steps, of which
                                        the range has `most_steps` */
} espalier_gpu_description;

/* Checks the description against itself and the device's limits, makes buffers and pipelines, and records. */
ESPALIER_API espalier_status espalier_gpu_program_create(
    espalier_gpu *gpu, const espalier_gpu_description *description, espalier_gpu_program **program,
    char *message, size_t message_bytes);

/* Copies in, submits once, waits, copies out. Sizes must be exact, and of as many steps in all that is free (else
   ESPALIER_NOT_RESERVED beyond the most). Allocates nothing, records nothing. Where a
   kernel left a number in the failures, the answer is ESPALIER_MODEL_FAILED with its message; outputs hold nothing. */
ESPALIER_API espalier_status espalier_gpu_program_run(
    espalier_gpu_program *program, const espalier_const_buffer *inputs, size_t input_count,
    const espalier_buffer *outputs, size_t output_count, char *message, size_t message_bytes);

/* How long each dispatch of the last run took, in seconds: of a device opened with `timestamps`, else all zero. */
ESPALIER_API espalier_status espalier_gpu_program_times(espalier_gpu_program *program, double *seconds, size_t count,
                                                        char *message, size_t message_bytes);

/* A null pointer is fine. */
ESPALIER_API void espalier_gpu_program_destroy(espalier_gpu_program *program);

/* Creates a model from a file that was compiled for a GPU (as espalier_create_from_file and _memory: `data` must stay
   where it is only until the call is over). It runs, is checked and destroyed as any other; espalier_set_threads
   does nothing, espalier_reserve tells whether so many steps were planned for. The device must outlive it; several models may share it, on threads of their own. */
ESPALIER_API espalier_status espalier_create_from_file_on(espalier_gpu *gpu, const char *path, espalier_model **model,
                                                          char *message, size_t message_bytes);
ESPALIER_API espalier_status espalier_create_from_memory_on(espalier_gpu *gpu, const void *data, size_t bytes,
                                                            espalier_model **model, char *message,
                                                            size_t message_bytes);

#ifdef __cplusplus
}
#endif

#endif
