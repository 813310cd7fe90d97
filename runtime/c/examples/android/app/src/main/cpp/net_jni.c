/* The native methods of Model.java. A model is a number to Java; errors are exceptions. */
#include <jni.h>

#include "net.h" /* espalier compile ... --name net --emit header -o net.h */

static espalier_model *model_of(jlong handle)
{
    return (espalier_model *)(intptr_t)handle;
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

JNIEXPORT jlong JNICALL Java_org_espalier_example_Model_create(JNIEnv *env, jclass self, jstring path)
{
    (void)self;
    char message[ESPALIER_MESSAGE_BYTES];
    espalier_model *model = NULL;
    const char *text = (*env)->GetStringUTFChars(env, path, NULL);
    if (text == NULL)
        return 0; /* out of memory: Java has an exception already */
    if (espalier_create_from_file(&espalier_model_net, text, &model, message, sizeof message) != ESPALIER_OK)
        raise_error(env, message);
    (*env)->ReleaseStringUTFChars(env, path, text);
    return (jlong)(intptr_t)model;
}

JNIEXPORT void JNICALL Java_org_espalier_example_Model_destroy(JNIEnv *env, jclass self, jlong handle)
{
    (void)env, (void)self;
    espalier_destroy(model_of(handle));
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
