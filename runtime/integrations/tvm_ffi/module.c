/* A compiled model, its file inside, as functions of TVM-FFI, which TVM's Relax, PyTorch, numpy and whatever else
   loads TVM-FFI modules can call:

       NAME(input..., output...)   runs the model; outputs are tensors of the caller's (destination passing)
       NAME_set_threads(n)         as espalier_set_threads; one thread at first
       NAME_check()                the recorded run once more; its error (espalier_check)

   One model serves one call at a time, so calls wait for each other. Errors are raised with a message: TypeError for
   another number or kind of arguments, ValueError for other dtypes, shapes and layouts, RuntimeError for the rest.

   Built with -DESPALIER_NAME=<tail of the model's symbol> and -DESPALIER_FILE="<path of its model file>". The one
   symbol that the host brings is TVMFFIErrorSetRaisedFromCStr. */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <tvm/ffi/c_api.h>

#include "espalier.h"

#define JOINED(before, name, after) before##name##after
#define JOIN(before, name, after) JOINED(before, name, after)
#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)
#define MODEL JOIN(espalier_model_, ESPALIER_NAME, )
#define FUNCTION(after) JOIN(__tvm_ffi_, ESPALIER_NAME, after)

enum { MAX_TENSORS = 64 };

extern const espalier_code MODEL;

/* The file lies among the constants, aligned so that its weights are used where they are. */
__asm__(".pushsection .rodata.espalier_file, \"a\", %progbits\n"
        ".balign 64\n"
        "espalier_file:\n"
        ".incbin \"" ESPALIER_FILE "\"\n"
        "espalier_file_end:\n"
        ".popsection\n");
extern const char espalier_file[] __attribute__((visibility("hidden")));
extern const char espalier_file_end[] __attribute__((visibility("hidden")));

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static espalier_model *model; /* made by the first call; lives as long as the library */

static int fail(const char *kind, const char *format, ...)
{
    char message[2 * ESPALIER_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    const int length = snprintf(message, sizeof message, "espalier: " TEXT(ESPALIER_NAME) ": ");
    vsnprintf(message + length, sizeof message - (size_t)length, format, arguments);
    va_end(arguments);
    TVMFFIErrorSetRaisedFromCStr(kind, message);
    return -1;
}

static int failed(void)
{
    return fail("RuntimeError", "%s", espalier_last_error(model));
}

static int ready(void)
{
    char message[ESPALIER_MESSAGE_BYTES];
    if (model == NULL
        && espalier_create_from_memory(&MODEL, espalier_file, (size_t)(espalier_file_end - espalier_file), &model,
                                       message, sizeof message) != ESPALIER_OK)
        return fail("RuntimeError", "%s", message);
    return 0;
}

/* ---- tensors ---------------------------------------------------------------------------------------------- */

/* DLPack's type code and bits of each dtype. */
static const struct {
    const char *name;
    uint8_t code, bits;
} DTYPES[] = {
    [ESPALIER_FLOAT32] = {"float32", kDLFloat, 32}, [ESPALIER_FLOAT64] = {"float64", kDLFloat, 64},
    [ESPALIER_FLOAT16] = {"float16", kDLFloat, 16}, [ESPALIER_INT8] = {"int8", kDLInt, 8},
    [ESPALIER_INT16] = {"int16", kDLInt, 16}, [ESPALIER_INT32] = {"int32", kDLInt, 32},
    [ESPALIER_INT64] = {"int64", kDLInt, 64}, [ESPALIER_UINT8] = {"uint8", kDLUInt, 8},
    [ESPALIER_UINT16] = {"uint16", kDLUInt, 16}, [ESPALIER_UINT32] = {"uint32", kDLUInt, 32},
    [ESPALIER_UINT64] = {"uint64", kDLUInt, 64}, [ESPALIER_BOOL] = {"bool", kDLBool, 8}};

static const DLTensor *tensor_of(const TVMFFIAny *argument)
{
    if (argument->type_index == kTVMFFIDLTensorPtr)
        return argument->v_ptr;
    if (argument->type_index == kTVMFFITensor)
        return (const DLTensor *)((const char *)argument->v_obj + sizeof(TVMFFIObject));
    return NULL;
}

/* Adds to the text in `shown`, as far as it has room. */
static void add(char *shown, size_t bytes, const char *format, ...)
{
    const size_t length = strlen(shown);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(shown + length, bytes - length, format, arguments);
    va_end(arguments);
}

static void show_dims(char *shown, size_t bytes, int32_t rank, const int64_t *dims)
{
    add(shown, bytes, " [");
    for (int32_t k = 0; k < rank; k++)
        add(shown, bytes, "%s%" PRId64, k > 0 ? ", " : "", dims[k]);
    add(shown, bytes, "]");
}

static int wrong_type(const char *kind, size_t index, const espalier_tensor *expected, const DLTensor *found)
{
    char wanted[ESPALIER_MESSAGE_BYTES] = "", given[ESPALIER_MESSAGE_BYTES] = "";
    add(wanted, sizeof wanted, "%s", DTYPES[expected->dtype].name);
    show_dims(wanted, sizeof wanted, (int32_t)expected->rank, expected->dims);
    for (size_t d = ESPALIER_FLOAT32; d <= ESPALIER_BOOL; d++)
        if (DTYPES[d].code == found->dtype.code && DTYPES[d].bits == found->dtype.bits
            && found->dtype.lanes == 1)
            add(given, sizeof given, "%s", DTYPES[d].name);
    if (given[0] == 0)
        add(given, sizeof given, "dtype code %d of %d bits", found->dtype.code, found->dtype.bits);
    show_dims(given, sizeof given, found->ndim, found->shape);
    return fail("ValueError", "%s %zu: expected %.200s, found %.200s", kind, index, wanted, given);
}

static bool is_compact(const DLTensor *tensor)
{
    int64_t step = 1;
    for (int32_t k = tensor->ndim - 1; tensor->strides != NULL && k >= 0; k--) {
        if (tensor->shape[k] != 1 && tensor->strides[k] != step)
            return false;
        step *= tensor->shape[k];
    }
    return true;
}

/* Where the tensor's data lies, once it is what the model expects; `steps`: what the model's free dimensions are, 0
   until one is met. */
static int take(const char *kind, size_t index, const espalier_tensor *expected, const TVMFFIAny *argument,
                int64_t *steps, espalier_buffer *buffer)
{
    const DLTensor *tensor = tensor_of(argument);
    if (tensor == NULL)
        return fail("TypeError", "%s %zu: expected a tensor", kind, index);
    if (tensor->device.device_type != kDLCPU)
        return fail("ValueError", "%s %zu: expected a tensor on the CPU, found DLPack device %d", kind, index,
                    (int)tensor->device.device_type);
    bool fits = tensor->dtype.code == DTYPES[expected->dtype].code
                && tensor->dtype.bits == DTYPES[expected->dtype].bits && tensor->dtype.lanes == 1
                && tensor->ndim == (int32_t)expected->rank;
    size_t bytes = DTYPES[expected->dtype].bits / 8u;
    for (uint32_t k = 0; fits && k < expected->rank; k++) {
        const bool is_free = expected->dims[k] < 0;
        if (is_free && *steps == 0)
            *steps = tensor->shape[k];
        fits = tensor->shape[k] == (is_free ? *steps : expected->dims[k]);
        bytes *= (size_t)tensor->shape[k];
    }
    if (!fits)
        return wrong_type(kind, index, expected, tensor);
    if (!is_compact(tensor))
        return fail("ValueError", "%s %zu: expected a contiguous tensor, the last dimension closest", kind, index);
    *buffer = (espalier_buffer){(char *)tensor->data + tensor->byte_offset, bytes};
    return 0;
}

/* ---- functions -------------------------------------------------------------------------------------------- */

static int run(const TVMFFIAny *arguments, int32_t count)
{
    const size_t inputs = espalier_input_count(model), outputs = espalier_output_count(model);
    espalier_buffer buffers[MAX_TENSORS];
    espalier_const_buffer given[MAX_TENSORS];
    if (inputs + outputs > MAX_TENSORS)
        return fail("RuntimeError", "expected at most %d inputs and outputs, found %zu", MAX_TENSORS,
                    inputs + outputs);
    if (count < 0 || (size_t)count != inputs + outputs)
        return fail("TypeError", "expected %zu inputs and %zu outputs, found %" PRId32 " arguments", inputs, outputs,
                    count);
    int64_t steps = 0;
    for (size_t i = 0; i < inputs; i++) {
        if (take("input", i, espalier_input(model, i), &arguments[i], &steps, &buffers[i]) != 0)
            return -1;
        given[i] = (espalier_const_buffer){buffers[i].data, buffers[i].bytes};
    }
    for (size_t i = 0; i < outputs; i++)
        if (take("output", i, espalier_output(model, i), &arguments[inputs + i], &steps, &buffers[inputs + i]) != 0)
            return -1;
    if (steps > 0 && espalier_reserve(model, steps) != ESPALIER_OK)
        return failed();
    return espalier_run(model, given, inputs, &buffers[inputs], outputs) == ESPALIER_OK ? 0 : failed();
}

static int set_threads(const TVMFFIAny *arguments, int32_t count)
{
    if (count != 1 || arguments[0].type_index != kTVMFFIInt)
        return fail("TypeError", "set_threads: expected one integer");
    const int64_t threads = arguments[0].v_int64;
    if (threads < 0 || threads > ESPALIER_MAX_THREADS)
        return fail("ValueError", "set_threads: expected 0 to %d, found %" PRId64, ESPALIER_MAX_THREADS, threads);
    return espalier_set_threads(model, (unsigned)threads) == ESPALIER_OK ? 0 : failed();
}

static int check(int32_t count, TVMFFIAny *result)
{
    if (count != 0)
        return fail("TypeError", "check: expected no arguments, found %" PRId32, count);
    result->type_index = kTVMFFIFloat;
    const espalier_status status = espalier_check(model, &result->v_float64);
    return status == ESPALIER_OK ? 0 : failed();
}

static void clear(TVMFFIAny *result)
{
    result->type_index = kTVMFFINone;
    result->zero_padding = 0;
    result->v_int64 = 0;
}

TVM_FFI_DLL_EXPORT int FUNCTION()(void *self, const TVMFFIAny *arguments, int32_t count, TVMFFIAny *result)
{
    (void)self;
    clear(result);
    pthread_mutex_lock(&one_at_a_time);
    const int status = ready() == 0 ? run(arguments, count) : -1;
    pthread_mutex_unlock(&one_at_a_time);
    return status;
}

TVM_FFI_DLL_EXPORT int FUNCTION(_set_threads)(void *self, const TVMFFIAny *arguments, int32_t count,
                                              TVMFFIAny *result)
{
    (void)self;
    clear(result);
    pthread_mutex_lock(&one_at_a_time);
    const int status = ready() == 0 ? set_threads(arguments, count) : -1;
    pthread_mutex_unlock(&one_at_a_time);
    return status;
}

TVM_FFI_DLL_EXPORT int FUNCTION(_check)(void *self, const TVMFFIAny *arguments, int32_t count, TVMFFIAny *result)
{
    (void)self;
    (void)arguments;
    clear(result);
    pthread_mutex_lock(&one_at_a_time);
    const int status = ready() == 0 ? check(count, result) : -1;
    pthread_mutex_unlock(&one_at_a_time);
    return status;
}
