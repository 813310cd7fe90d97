/* The C interface to a compiled model.

   A model is two things: code, linked into the program or loaded from a shared library, which exports one
   `espalier_code`, and the file that `espalier compile` wrote, which holds the weights. `espalier_create_*`
   brings the two together and refuses a pair that was not compiled together.

       char message[ESPALIER_MESSAGE_BYTES];
       espalier_model *model = NULL;
       if (espalier_create_from_file(&espalier_model_vgg16, "vgg16.espalier", &model, message, sizeof message))
           return fail(message);
       espalier_const_buffer input = {pixels, sizeof pixels};
       espalier_buffer output = {scores, sizeof scores};
       if (espalier_run(model, &input, 1, &output, 1)) return fail(espalier_last_error(model));
       espalier_destroy(model);

   Threads: different instances may be used from different threads at the same time; one instance serves one
   call at a time. Linux and Android, 64 bits, little-endian. C99 and C++. */
#ifndef ESPALIER_H
#define ESPALIER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ESPALIER_API __attribute__((visibility("default")))
#define ESPALIER_ABI 5u              /* the version of this interface and of the file's `abi` member */
#define ESPALIER_MAX_RANK 8
#define ESPALIER_MAX_THREADS 256
#define ESPALIER_DIGEST_BYTES 32
#define ESPALIER_MESSAGE_BYTES 256u  /* no message is longer, its terminating zero included */

typedef enum espalier_status {
    ESPALIER_OK = 0,
    ESPALIER_INVALID_ARGUMENT = 1, /* a null pointer, a wrong count or size, too small a buffer */
    ESPALIER_IO = 2,               /* the file cannot be opened or mapped */
    ESPALIER_DAMAGED = 3,          /* no model file, or truncated, or a checksum does not fit */
    ESPALIER_VERSION = 4,          /* written by another version of Espalier */
    ESPALIER_MISMATCH = 5,         /* the file belongs to other code: another model, target or compilation */
    ESPALIER_OUT_OF_MEMORY = 6,    /* no memory, or the system gives no more threads */
    ESPALIER_NOT_RESERVED = 7,     /* a longer sequence than `espalier_reserve` made room for */
    ESPALIER_MODEL_FAILED = 8,     /* an assertion of the model failed, such as an index out of range */
    ESPALIER_NO_RECORD = 9,        /* the file holds no recorded run to check against */
    ESPALIER_DIFFERS = 10,         /* the check's outputs are not the recorded ones */
    ESPALIER_NO_DEVICE = 11,       /* no Vulkan loader, no driver, or no such device */
    ESPALIER_UNSUPPORTED = 12,     /* the device lacks a version, a feature or a limit, or refuses a kernel */
    ESPALIER_DEVICE_LOST = 13      /* the device stopped in the middle of a run */
} espalier_status;

typedef enum espalier_dtype {
    ESPALIER_FLOAT32 = 1, ESPALIER_FLOAT64 = 2, ESPALIER_FLOAT16 = 3,
    ESPALIER_INT8 = 4, ESPALIER_INT16 = 5, ESPALIER_INT32 = 6, ESPALIER_INT64 = 7,
    ESPALIER_UINT8 = 8, ESPALIER_UINT16 = 9, ESPALIER_UINT32 = 10, ESPALIER_UINT64 = 11,
    ESPALIER_BOOL = 12             /* one byte, 0 or 1 */
} espalier_dtype;

/* What all threads call together; the compiler writes it. `buffers` stand in the order that the code itself
   names; `sizes`: the free dimensions of inputs, then of outputs. */
typedef void (*espalier_entry_fn)(void *const *buffers, const int64_t *sizes, int64_t thread, int64_t threads);

/* The type of an input or an output; a dimension of -1 is free. */
typedef struct espalier_type {
    uint32_t dtype; /* espalier_dtype */
    uint32_t rank;
    int64_t dims[ESPALIER_MAX_RANK];
} espalier_type;

/* A compiled model's code, and all that it needs: a model file that says otherwise is refused. */
typedef struct espalier_code {
    uint32_t abi;
    uint32_t flags;            /* ESPALIER_SEQUENTIAL: one thread must run it all */
    char fingerprint[32];      /* over code and weights: hexadecimal digits, no terminating zero */
    uint8_t digest[ESPALIER_DIGEST_BYTES]; /* of the weights, whose index tables `entry` follows: BLAKE2b */
    espalier_entry_fn entry;
    uint64_t arena, arena_per_step; /* bytes; shared by all threads */
    uint64_t scratch;          /* units of 4 bytes, for each thread */
    uint64_t stamps;           /* 64-bit counters; shared */
    uint64_t weights;          /* bytes; shared */
    uint32_t input_count, output_count, message_count;
    const espalier_type *tensors; /* inputs, then outputs */
    const char *buffers;       /* what `entry` takes, in order: "inputs scratch outputs weights ..." */
} espalier_code;

#define ESPALIER_SEQUENTIAL 1u

typedef struct espalier_model espalier_model;

/* An input or an output: dense, row-major, the last dimension closest. A dimension of -1 is free (the length
   of a sequence); all free dimensions of a model have the same length in one run. */
typedef struct espalier_tensor {
    const char *name;                /* UTF-8; lives as long as the model */
    espalier_dtype dtype;
    uint32_t rank;
    int64_t dims[ESPALIER_MAX_RANK];
    size_t bytes;                    /* of the whole tensor; of one step where a dimension is free */
} espalier_tensor;

typedef struct espalier_const_buffer {
    const void *data;
    size_t bytes;
} espalier_const_buffer;

typedef struct espalier_buffer {
    void *data;
    size_t bytes;
} espalier_buffer;

/* Creates a model from a file, which is mapped, not read, and must not change while the model lives; or from
   `bytes` bytes at `data`, which must stay where they are until the model is destroyed (they are used in
   place where they are aligned to 64 bytes, and copied otherwise). Every checksum is verified, and the
   digest of the weights, which reads them once (about a second a GiB). The model has one thread, and memory for one step where a dimension is free.

   On success *model is the new model. On failure *model is null and `message` (which may be null) holds what
   went wrong in up to `message_bytes` bytes, terminating zero included. */
ESPALIER_API espalier_status espalier_create_from_file(
    const espalier_code *code, const char *path, espalier_model **model, char *message, size_t message_bytes);
ESPALIER_API espalier_status espalier_create_from_memory(
    const espalier_code *code, const void *data, size_t bytes, espalier_model **model, char *message,
    size_t message_bytes);

/* Ends the model's threads and frees its memory. A null pointer is fine. */
ESPALIER_API void espalier_destroy(espalier_model *model);

/* What went wrong in the model's last call that failed; empty before the first. Never null. */
ESPALIER_API const char *espalier_last_error(const espalier_model *model);

/* Inputs and outputs, in the order in which `espalier_run` takes them; null where `index` is too large. */
ESPALIER_API size_t espalier_input_count(const espalier_model *model);
ESPALIER_API size_t espalier_output_count(const espalier_model *model);
ESPALIER_API const espalier_tensor *espalier_input(const espalier_model *model, size_t index);
ESPALIER_API const espalier_tensor *espalier_output(const espalier_model *model, size_t index);

/* The target that the model was compiled for, such as "aarch64-linux-gnu cortex-a76". */
ESPALIER_API const char *espalier_target(const espalier_model *model);

/* Runs from now on use `threads` threads (at most ESPALIER_MAX_THREADS): the caller's and threads - 1 of the model's
   own, which sleep between runs; no more than there are processors for them. 0: one a fast processor, which has at
   least 60 % of the capacity that the system tells of the fastest one. Outputs are the same to the bit for any
   number. A model that cannot be shared out runs on the caller's thread alone. When this fails, the threads stay as
   they were. */
ESPALIER_API espalier_status espalier_set_threads(espalier_model *model, unsigned threads);

/* The model's own threads run on these processors only (numbers as in /sys/devices/system/cpu; none given: wherever
   the thread may run that calls this). The thread that calls `espalier_run` is the application's, which pins it with
   sched_setaffinity if it wants to. On phones: the big cores alone, as one that is four times slower helps little,
   and a thread for each (`espalier_set_threads` again). When this fails, the threads stay where they were. */
ESPALIER_API espalier_status espalier_set_cpus(espalier_model *model, const unsigned *cpus, size_t count);

/* Makes room for runs of up to `steps` steps, where a dimension is free; never less than there was. Models
   without a free dimension take any number and do nothing. */
ESPALIER_API espalier_status espalier_reserve(espalier_model *model, int64_t steps);

/* Runs the model. An input's size must be exact, an output's at least what is needed; where a dimension is
   free, the size of the first such input tells the number of steps. Data must be aligned as their dtype is, and
   outputs must overlap nothing else. Outputs are undefined when the run fails.

   In a child of fork the first run starts the model's threads anew; a fork must not happen during a run.

   Otherwise allocates nothing and takes no lock (the first run brings in the pages of the arena, which a model that
   never runs does not cost): threads claim the work chunk by chunk, so that the caller waits
   only for what another has claimed, never for a worker that is late; waiting spins for 200 microseconds, then sleeps.
   Workers sleep 100 microseconds after a run. */
ESPALIER_API espalier_status espalier_run(
    espalier_model *model, const espalier_const_buffer *inputs, size_t input_count,
    const espalier_buffer *outputs, size_t output_count);

/* Runs the recorded inputs and compares with the recorded outputs, on the threads that are set; a model with states
   runs twice, from the initial states, compares states too, and has its own states again afterwards. *error (which
   may be null) becomes the largest difference over the largest finite output; infinite where an infinity or
   NaN is not in its place. ESPALIER_DIFFERS above the file's tolerance. Allocates for the outputs, and reserves
   as many steps as were recorded. */
ESPALIER_API espalier_status espalier_check(espalier_model *model, double *error);

/* States: what one run leaves for the next (buffers that the model's `forward` overwrites, such as the past of an
   audio stream). They are no inputs and outputs: `espalier_run` carries them on when it ends well, without copying,
   and leaves them as they were when it fails. A new model has the initial states. Names are the buffers' own. */
ESPALIER_API size_t espalier_state_count(const espalier_model *model);
ESPALIER_API const espalier_tensor *espalier_state(const espalier_model *model, size_t index);

/* The next run is the first of a stream: states are what they were when the model was compiled. Nothing happens to a
   model without states. Allocates nothing. */
ESPALIER_API espalier_status espalier_reset(espalier_model *model);

/* Copies a state out or in; `bytes` must be exact. So one model serves several streams in turn. */
ESPALIER_API espalier_status espalier_get_state(espalier_model *model, size_t index, espalier_buffer value);
ESPALIER_API espalier_status espalier_set_state(espalier_model *model, size_t index, espalier_const_buffer value);

/* Where the last run's time went: `seconds[i]` of statement i, `count` = espalier_label_count. Labels are
   layer names, or operations where a statement belongs to no layer; one label may come more than once. All zero
   where the processor has no counter that programs may read. */
ESPALIER_API size_t espalier_label_count(const espalier_model *model);
ESPALIER_API const char *espalier_label(const espalier_model *model, size_t index);
ESPALIER_API espalier_status espalier_profile(espalier_model *model, double *seconds, size_t count);

#ifdef __cplusplus
}
#endif

#endif
