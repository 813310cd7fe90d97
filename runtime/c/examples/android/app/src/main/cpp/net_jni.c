/* The native methods of Model.java. A model is a number to Java; errors are exceptions. With NET_GPU a GPU runs the
   model where there is a file for it and a device that can; the code in net.o is the fallback. */
#include <jni.h>
#include <stdio.h>
#include <stdlib.h>

#include "net.h" /* espalier compile ... --name net --emit header -o net.h */
#ifdef NET_GPU
#include "vulkan.h"
#else
typedef struct espalier_gpu espalier_gpu; /* there is none */
#endif

typedef struct net_instance {
    espalier_model *model;
    espalier_gpu *gpu;                    /* null: the processor */
    char reason[ESPALIER_MESSAGE_BYTES];  /* why it is the processor; empty where nobody asked for a GPU */
} net_instance;

static net_instance *instance_of(jlong handle)
{
    return (net_instance *)(intptr_t)handle;
}

static espalier_model *model_of(jlong handle)
{
    return handle == 0 ? NULL : instance_of(handle)->model;
}

static void raise_error(JNIEnv *env, const char *message)
{
    const jclass type = (*env)->FindClass(env, "java/lang/IllegalStateException");
    if (type != NULL)
        (*env)->ThrowNew(env, type, message);
}

static void must(JNIEnv *env, jlong handle, espalier_status status)
{
    if (status != ESPALIER_OK)
        raise_error(env, espalier_last_error(model_of(handle)));
}

static void release(net_instance *net)
{
    if (net == NULL)
        return;
    espalier_destroy(net->model);
#ifdef NET_GPU
    espalier_gpu_destroy(net->gpu);
#endif
    free(net);
}

/* The model on a GPU: nothing where that cannot be, and net->reason says why. */
static void try_gpu(net_instance *net, const char *path)
{
#ifdef NET_GPU
    const espalier_gpu_options options = {.device = -1};
    if (espalier_gpu_create(&options, &net->gpu, net->reason, sizeof net->reason) != ESPALIER_OK)
        return;
    if (espalier_create_from_file_on(net->gpu, path, &net->model, net->reason, sizeof net->reason) == ESPALIER_OK)
        return;
    espalier_gpu_destroy(net->gpu);
    net->gpu = NULL;
#else
    snprintf(net->reason, sizeof net->reason, "built without Vulkan: %s", path);
#endif
}

/* `gpuPath` may be null. */
JNIEXPORT jlong JNICALL Java_org_espalier_example_Model_create(JNIEnv *env, jclass self, jstring gpuPath, jstring path)
{
    (void)self;
    char message[ESPALIER_MESSAGE_BYTES] = "out of memory";
    net_instance *net = calloc(1, sizeof *net);
    const char *text = (*env)->GetStringUTFChars(env, path, NULL);
    const char *gpuText = gpuPath == NULL ? NULL : (*env)->GetStringUTFChars(env, gpuPath, NULL);
    espalier_status status = net == NULL ? ESPALIER_OUT_OF_MEMORY : ESPALIER_OK;
    if (status == ESPALIER_OK && gpuText != NULL)
        try_gpu(net, gpuText);
    if (status == ESPALIER_OK && net->model == NULL && text != NULL)
        status = espalier_create_from_file(&espalier_model_net, text, &net->model, message, sizeof message);
    if (gpuText != NULL)
        (*env)->ReleaseStringUTFChars(env, gpuPath, gpuText);
    if (text != NULL)
        (*env)->ReleaseStringUTFChars(env, path, text);
    if (status == ESPALIER_OK && net->model != NULL)
        return (jlong)(intptr_t)net;
    release(net);
    if (!(*env)->ExceptionCheck(env)) /* Java has one already where a string found no memory */
        raise_error(env, message);
    return 0;
}

JNIEXPORT void JNICALL Java_org_espalier_example_Model_destroy(JNIEnv *env, jclass self, jlong handle)
{
    (void)env, (void)self;
    release(instance_of(handle));
}

/* Null on a GPU; on the processor why it is that, empty where nobody asked for another. */
JNIEXPORT jstring JNICALL Java_org_espalier_example_Model_whyProcessor(JNIEnv *env, jclass self, jlong handle)
{
    (void)self;
    const net_instance *net = instance_of(handle);
    return net->gpu != NULL ? NULL : (*env)->NewStringUTF(env, net->reason);
}

JNIEXPORT void JNICALL Java_org_espalier_example_Model_setThreads(JNIEnv *env, jclass self, jlong handle, jint threads)
{
    (void)self;
    must(env, handle, espalier_set_threads(model_of(handle), threads < 0 ? 0 : (unsigned)threads));
}

JNIEXPORT jdouble JNICALL Java_org_espalier_example_Model_check(JNIEnv *env, jclass self, jlong handle)
{
    (void)self;
    double error;
    must(env, handle, espalier_check(model_of(handle), &error));
    return error;
}

JNIEXPORT jlong JNICALL Java_org_espalier_example_Model_bytes(JNIEnv *env, jclass self, jlong handle, jboolean output,
                                                             jint index)
{
    (void)env, (void)self;
    const size_t at = index < 0 ? SIZE_MAX : (size_t)index;
    const espalier_tensor *tensor = output ? espalier_output(model_of(handle), at) : espalier_input(model_of(handle), at);
    return tensor == NULL ? -1 : (jlong)tensor->bytes;
}

enum { MAX_TENSORS = 16 };

/* The direct buffers of `array`; their number, or -1 where there are too many. A buffer that is not direct has the
   address null, which espalier_run refuses. */
static jsize unpack(JNIEnv *env, jobjectArray array, espalier_buffer *buffers)
{
    const jsize count = (*env)->GetArrayLength(env, array);
    for (jsize i = 0; i < count && count <= MAX_TENSORS; i++) {
        const jobject buffer = (*env)->GetObjectArrayElement(env, array, i);
        void *data = buffer == NULL ? NULL : (*env)->GetDirectBufferAddress(env, buffer);
        const jlong bytes = data == NULL ? 0 : (*env)->GetDirectBufferCapacity(env, buffer);
        buffers[i] = (espalier_buffer){data, (size_t)bytes};
        (*env)->DeleteLocalRef(env, buffer);
    }
    return count <= MAX_TENSORS ? count : -1;
}

JNIEXPORT void JNICALL Java_org_espalier_example_Model_run(JNIEnv *env, jclass self, jlong handle, jobjectArray inputs,
                                                          jobjectArray outputs)
{
    (void)self;
    espalier_buffer sources[MAX_TENSORS], targets[MAX_TENSORS];
    espalier_const_buffer given[MAX_TENSORS];
    const jsize source_count = unpack(env, inputs, sources), target_count = unpack(env, outputs, targets);
    if (source_count < 0 || target_count < 0) {
        raise_error(env, "too many buffers");
        return;
    }
    for (jsize i = 0; i < source_count; i++)
        given[i] = (espalier_const_buffer){sources[i].data, sources[i].bytes};
    must(env, handle, espalier_run(model_of(handle), given, (size_t)source_count, targets, (size_t)target_count));
}
