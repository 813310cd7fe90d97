/* The C ABI's tests: test_abi CASE FILE, where FILE is what the case needs (see test_c_abi.py). Ends with 0, or says
   which expectation does not hold. Linked with --wrap for everything that allocates or locks. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "archive.h"
#include "description.h"
#include "digest.h"
#include "fake_model.h"

#define EXPECT(condition)                                                                             \
    do {                                                                                              \
        if (!(condition)) {                                                                           \
            fprintf(stderr, "%s:%d: expected %s; last: %s\n", __FILE__, __LINE__, #condition, last); \
            exit(1);                                                                                  \
        }                                                                                             \
    } while (0)

static __thread char last[ESPALIER_MESSAGE_BYTES];
static const float X[6] = {1, -2, 3, 4, 5, -6};
static const float Y[6] = {-3, 5, 25, 41, -11, -35}; /* weights 1 to 6 */

/* ---- what the system is asked for -------------------------------------------------------------------------- */

static int calls;          /* atomic: requests for memory, threads and locks so far */
static int refused = -1;   /* atomic: the number of the request that the system refuses */

static int refuse(void)
{
    return __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED) == __atomic_load_n(&refused, __ATOMIC_RELAXED);
}

#define COUNTED(result, name, parameters, arguments, failure)   \
    result __real_##name parameters;                            \
    result __wrap_##name parameters;                            \
    result __wrap_##name parameters                             \
    {                                                           \
        return refuse() ? failure : __real_##name arguments;    \
    }

COUNTED(void *, malloc, (size_t size), (size), NULL)
COUNTED(void *, calloc, (size_t count, size_t size), (count, size), NULL)
COUNTED(void *, realloc, (void *memory, size_t size), (memory, size), NULL)
COUNTED(int, posix_memalign, (void **memory, size_t alignment, size_t size), (memory, alignment, size), 12)
COUNTED(int, pthread_mutex_lock, (pthread_mutex_t *mutex), (mutex), 11)
COUNTED(int, sem_init, (sem_t *semaphore, int shared, unsigned value), (semaphore, shared, value), -1)
COUNTED(int, pthread_create, (pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument),
        (thread, attributes, start, argument), 11)

/* ---- helpers ---------------------------------------------------------------------------------------------- */

static espalier_model *open_model(const espalier_code *code, const char *path)
{
    espalier_model *model = NULL;
    EXPECT(espalier_create_from_file(code, path, &model, last, sizeof last) == ESPALIER_OK);
    EXPECT(model != NULL);
    return model;
}

static espalier_status remember(const espalier_model *model, espalier_status status)
{
    snprintf(last, sizeof last, "%s", espalier_last_error(model));
    return status;
}

static int says(const char *text)
{
    return strstr(last, text) != NULL;
}

static espalier_status run_affine(espalier_model *model, const float *x, float *y, int64_t *positives)
{
    const espalier_const_buffer input = {x, sizeof X};
    const espalier_buffer outputs[2] = {{y, sizeof Y}, {positives, 2 * sizeof *positives}};
    return remember(model, espalier_run(model, &input, 1, outputs, 2));
}

static void expect_results(espalier_model *model)
{
    float y[6] = {0};
    int64_t positives[2] = {0};
    EXPECT(run_affine(model, X, y, positives) == ESPALIER_OK);
    EXPECT(memcmp(y, Y, sizeof y) == 0);
    EXPECT(positives[0] == 2 && positives[1] == 2);
}

/* A file's bytes, `shift` bytes behind a multiple of 64. */
static char *read_bytes(const char *path, size_t shift, size_t *size)
{
    FILE *file = fopen(path, "rb");
    void *memory = NULL;
    EXPECT(file != NULL && fseek(file, 0, SEEK_END) == 0);
    *size = (size_t)ftell(file);
    rewind(file);
    EXPECT(posix_memalign(&memory, 64, *size + shift) == 0);
    EXPECT(fread((char *)memory + shift, 1, *size, file) == *size);
    fclose(file);
    return memory;
}

/* ---- cases on the affine model ---------------------------------------------------------------------------- */

static void case_queries(const char *path)
{
    espalier_model *model = open_model(&espalier_model_affine, path);
    const espalier_tensor *x = espalier_input(model, 0), *y = espalier_output(model, 0);
    const espalier_tensor *positives = espalier_output(model, 1);
    EXPECT(espalier_input_count(model) == 1 && espalier_output_count(model) == 2);
    EXPECT(strcmp(x->name, "x") == 0 && strcmp(positives->name, "positivité") == 0);
    EXPECT(x->dtype == ESPALIER_FLOAT32 && positives->dtype == ESPALIER_INT64);
    EXPECT(x->rank == 2 && x->dims[0] == 2 && x->dims[1] == 3 && x->bytes == 24 && y->bytes == 24);
    EXPECT(positives->rank == 1 && positives->dims[0] == 2 && positives->bytes == 16);
    EXPECT(espalier_input(model, 1) == NULL && espalier_output(model, 2) == NULL);
    EXPECT(strcmp(espalier_target(model), "none-linux-fake fake-a1") == 0);
    EXPECT(espalier_label_count(model) == 2 && strcmp(espalier_label(model, 0), "product") == 0);
    EXPECT(strcmp(espalier_label(model, 1), "sum") == 0 && espalier_label(model, 2) == NULL);
    EXPECT(strcmp(espalier_last_error(model), "") == 0);
    espalier_destroy(model);
}

static void case_run(const char *path)
{
    espalier_model *model = open_model(&espalier_model_affine, path);
    expect_results(model);
    expect_results(model);
    EXPECT(espalier_reserve(model, 1000000) == ESPALIER_OK); /* nothing is free, nothing to do */
    espalier_destroy(model);
    espalier_destroy(NULL);
}

static void case_memory(const char *path)
{
    for (size_t shift = 0; shift < 64; shift += 21) {
        size_t size;
        espalier_model *model;
        char *memory = read_bytes(path, shift, &size);
        EXPECT(espalier_create_from_memory(&espalier_model_affine, memory + shift, size, &model, last, sizeof last)
               == ESPALIER_OK);
        expect_results(model);
        espalier_destroy(model);
        free(memory);
    }
}

static void case_larger_outputs(const char *path)
{
    espalier_model *model = open_model(&espalier_model_affine, path);
    float y[7] = {[6] = 42};
    int64_t positives[2];
    const espalier_const_buffer input = {X, sizeof X};
    const espalier_buffer outputs[2] = {{y, sizeof y}, {positives, sizeof positives}};
    EXPECT(remember(model, espalier_run(model, &input, 1, outputs, 2)) == ESPALIER_OK);
    EXPECT(memcmp(y, Y, sizeof Y) == 0 && fabsf(y[6] - 42) < 1e-9f);
    espalier_destroy(model);
}

static void case_null_pointers(const char *path)
{
    espalier_model *model = NULL;
    const espalier_code no_entry = {.abi = ESPALIER_ABI};
    double value;
    EXPECT(espalier_create_from_file(NULL, path, &model, last, sizeof last) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(says("code is null"));
    EXPECT(espalier_create_from_file(&no_entry, path, &model, last, sizeof last) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(espalier_create_from_file(&espalier_model_affine, NULL, &model, last, sizeof last) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(says("the model is null") && model == NULL);
    EXPECT(espalier_create_from_file(&espalier_model_affine, path, NULL, last, sizeof last) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(espalier_create_from_memory(&espalier_model_affine, NULL, 10, &model, NULL, 0) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(espalier_create_from_file(&espalier_model_affine, "/", &model, NULL, 0) == ESPALIER_DAMAGED);
    EXPECT(espalier_input_count(NULL) == 0 && espalier_output_count(NULL) == 0 && espalier_label_count(NULL) == 0);
    EXPECT(espalier_input(NULL, 0) == NULL && espalier_output(NULL, 0) == NULL && espalier_label(NULL, 0) == NULL);
    EXPECT(espalier_run(NULL, NULL, 0, NULL, 0) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(espalier_set_threads(NULL, 1) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(espalier_set_cpus(NULL, NULL, 0) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(espalier_reserve(NULL, 1) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(espalier_check(NULL, &value) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(espalier_profile(NULL, &value, 1) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(strcmp(espalier_last_error(NULL), "the model is a null pointer") == 0);
    EXPECT(strcmp(espalier_target(NULL), "") == 0);
}

static void case_wrong_buffers(const char *path)
{
    espalier_model *model = open_model(&espalier_model_affine, path);
    float y[6];
    int64_t positives[2];
    espalier_const_buffer input = {X, sizeof X};
    espalier_buffer outputs[2] = {{y, sizeof y}, {positives, sizeof positives}};
    EXPECT(remember(model, espalier_run(model, &input, 2, outputs, 2)) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(says("expected 1 inputs and 2 outputs, found 2 and 2"));
    EXPECT(remember(model, espalier_run(model, &input, 1, outputs, 1)) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(remember(model, espalier_run(model, NULL, 1, outputs, 2)) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(says("the list of inputs is a null pointer"));
    EXPECT(remember(model, espalier_run(model, &input, 1, NULL, 2)) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(says("the list of outputs is a null pointer"));
    for (size_t bytes = 0; bytes < 2 * sizeof X; bytes++) {
        input.bytes = bytes;
        if (bytes != sizeof X)
            EXPECT(remember(model, espalier_run(model, &input, 1, outputs, 2)) == ESPALIER_INVALID_ARGUMENT);
    }
    EXPECT(says("input 'x': expected 24 bytes, found 47"));
    input.bytes = sizeof X;
    outputs[1].bytes--;
    EXPECT(remember(model, espalier_run(model, &input, 1, outputs, 2)) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(says("output 'positivité': expected at least 16 bytes, found 15"));
    outputs[1] = (espalier_buffer){NULL, sizeof positives};
    EXPECT(remember(model, espalier_run(model, &input, 1, outputs, 2)) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(says("output 'positivité' is a null pointer"));
    outputs[1].data = (char *)positives + 1;
    EXPECT(remember(model, espalier_run(model, &input, 1, outputs, 2)) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(says("is not aligned to 8 bytes"));
    input.data = NULL;
    EXPECT(remember(model, espalier_run(model, &input, 1, outputs, 2)) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(says("input 'x' is a null pointer"));
    expect_results(model); /* no failed call has left a trace */
    espalier_destroy(model);
}

static void case_wrong_threads(const char *path)
{
    espalier_model *model = open_model(&espalier_model_affine, path);
    EXPECT(remember(model, espalier_set_threads(model, ESPALIER_MAX_THREADS + 1)) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(says("expected at most 256 threads, found 257"));
    expect_results(model);
    espalier_destroy(model);
}

static void case_threads(const char *path)
{
    espalier_model *model = open_model(&espalier_model_affine, path);
    for (unsigned threads = 1; threads <= 4; threads++) {
        EXPECT(remember(model, espalier_set_threads(model, threads)) == ESPALIER_OK);
        for (int i = 0; i < 20; i++)
            expect_results(model);
    }
    EXPECT(espalier_set_threads(model, 2) == ESPALIER_OK);
    expect_results(model);
    EXPECT(espalier_set_threads(model, 0) == ESPALIER_OK);
    expect_results(model);
    espalier_destroy(model);
}

/* The model's threads run where they are told to, and the caller's where it was. */
static void case_cpus(const char *path)
{
    espalier_model *model = open_model(&espalier_model_affine, path);
    const unsigned here[] = {0, 0}, nowhere[] = {0, 100000}, absent[] = {1023};
    EXPECT(espalier_set_threads(model, 2) == ESPALIER_OK);
    const unsigned cores = espalier_cores();
    EXPECT(espalier_set_cpus(model, here, 2) == ESPALIER_OK);
    expect_results(model);
    EXPECT(espalier_cores() == cores);
    EXPECT(espalier_set_threads(model, 4) == ESPALIER_OK); /* one processor: one of them */
    expect_results(model);
    EXPECT(remember(model, espalier_set_cpus(model, nowhere, 2)) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(says("there is no processor 100000 here; expected 0 to "));
    EXPECT(remember(model, espalier_set_cpus(model, absent, 1)) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(remember(model, espalier_set_cpus(model, NULL, 1)) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(says("the list of processors is a null pointer"));
    EXPECT(espalier_set_cpus(model, NULL, 0) == ESPALIER_OK); /* anywhere again */
    EXPECT(espalier_set_threads(model, 2) == ESPALIER_OK);
    expect_results(model);
    espalier_destroy(model);
}

/* A child of fork has no workers of its own, and starts some; the parent's go on. */
static void case_fork(const char *path)
{
    espalier_model *model = open_model(&espalier_model_affine, path);
    EXPECT(espalier_set_threads(model, 3) == ESPALIER_OK);
    expect_results(model);
    for (int child = 0; child < 3; child++) {
        /* a sanitizer's own locks do not outlive a fork while a thread is being started */
        nanosleep(&(struct timespec){0, 50000000}, NULL);
        const pid_t id = fork();
        EXPECT(id >= 0);
        if (id == 0) {
            alarm(30); /* a hang is a failure */
            if (child == 1)
                EXPECT(espalier_set_threads(model, 2) == ESPALIER_OK);
            expect_results(model);
            expect_results(model);
            espalier_destroy(model);
            _exit(0);
        }
        int status = -1;
        EXPECT(waitpid(id, &status, 0) == id && status == 0);
        expect_results(model);
    }
    espalier_destroy(model);
}

static void *run_often(void *path)
{
    espalier_model *model = open_model(&espalier_model_affine, path);
    EXPECT(espalier_set_threads(model, 2) == ESPALIER_OK);
    for (int i = 0; i < 30; i++) {
        expect_results(model);
        EXPECT(espalier_check(model, NULL) == ESPALIER_OK);
    }
    espalier_destroy(model);
    return NULL;
}

static void case_instances(const char *path)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        EXPECT(pthread_create(&threads[i], NULL, run_often, (void *)(uintptr_t)path) == 0);
    for (int i = 0; i < 4; i++)
        EXPECT(pthread_join(threads[i], NULL) == 0);
}

static void case_no_allocation(const char *path)
{
    espalier_model *model = open_model(&espalier_model_affine, path);
    float y[6];
    int64_t positives[2];
    const int before = calls;
    EXPECT(before > 5); /* the counter works */
    for (unsigned threads = 1; threads <= 3; threads++) {
        EXPECT(espalier_set_threads(model, threads) == ESPALIER_OK);
        const int quiet = calls;
        for (int i = 0; i < 5; i++)
            EXPECT(run_affine(model, X, y, positives) == ESPALIER_OK);
        EXPECT(calls == quiet);
    }
    espalier_destroy(model);
}

/* Each request in turn is refused: an error, nothing lost, and the model works on as it was. */
static void case_no_memory(const char *path)
{
    size_t size;
    char *memory = read_bytes(path, 1, &size);
    espalier_model *model = NULL;
    espalier_status status = ESPALIER_OUT_OF_MEMORY;
    int failures = 0;
    for (; status != ESPALIER_OK; failures++) {
        __atomic_store_n(&refused, calls + failures, __ATOMIC_RELAXED);
        status = espalier_create_from_memory(&espalier_model_affine, memory + 1, size, &model, last, sizeof last);
        EXPECT(status == ESPALIER_OK || (status == ESPALIER_OUT_OF_MEMORY && model == NULL));
    }
    EXPECT(failures > 10);
    for (status = ESPALIER_OUT_OF_MEMORY, failures = 0; status != ESPALIER_OK; failures++) {
        __atomic_store_n(&refused, calls + failures, __ATOMIC_RELAXED);
        status = remember(model, espalier_set_threads(model, 3));
        EXPECT(status == ESPALIER_OK || (status == ESPALIER_OUT_OF_MEMORY && says("threads with 6 floats")));
        expect_results(model);
    }
    EXPECT(failures > 8);
    for (status = ESPALIER_OUT_OF_MEMORY, failures = 0; status != ESPALIER_OK; failures++) {
        __atomic_store_n(&refused, calls + failures, __ATOMIC_RELAXED);
        status = remember(model, espalier_check(model, NULL));
        EXPECT(status == ESPALIER_OK || (status == ESPALIER_OUT_OF_MEMORY && says("no memory for the check")));
    }
    EXPECT(failures == 7);
    espalier_destroy(model);
    free(memory);
}

static void case_failure(const char *path)
{
    espalier_model *model = open_model(&espalier_model_affine, path);
    const float bad[6] = {1001};
    float y[6];
    int64_t positives[2];
    EXPECT(run_affine(model, bad, y, positives) == ESPALIER_MODEL_FAILED);
    EXPECT(says("the model stopped: x is too large"));
    expect_results(model);
    espalier_destroy(model);
}

static void case_check(const char *path)
{
    espalier_model *model = open_model(&espalier_model_affine, path);
    double error = 1;
    for (unsigned threads = 1; threads <= 3; threads++) {
        EXPECT(espalier_set_threads(model, threads) == ESPALIER_OK);
        EXPECT(remember(model, espalier_check(model, &error)) == ESPALIER_OK);
        EXPECT(error >= 0 && error < 1e-6);
    }
    espalier_destroy(model);
}

static void case_check_differs(const char *path)
{
    espalier_model *model = open_model(&espalier_model_affine, path);
    double error;
    EXPECT(remember(model, espalier_check(model, &error)) == ESPALIER_DIFFERS);
    EXPECT(says("differ from the recorded ones by 1.2e-02 of the largest output (allowed: 1e-04)"));
    EXPECT(fabs(error - 0.5 / 41) < 1e-6);
    espalier_destroy(model);
}

static void case_check_not_a_number(const char *path)
{
    espalier_model *model = open_model(&espalier_model_affine, path);
    double error;
    EXPECT(remember(model, espalier_check(model, &error)) == ESPALIER_DIFFERS);
    EXPECT(isinf(error));
    espalier_destroy(model);
}

static void case_check_misfit(const char *path)
{
    espalier_model *model = open_model(&espalier_model_affine, path);
    EXPECT(remember(model, espalier_check(model, NULL)) == ESPALIER_DAMAGED);
    EXPECT(says("member 'output_0.npy' has another shape or dtype than the model's 'y'"));
    espalier_destroy(model);
}

/* The right dtype and rank, and a size that is another. */
static void case_check_other_size(const char *path)
{
    espalier_model *model = open_model(&espalier_model_affine, path);
    EXPECT(remember(model, espalier_check(model, NULL)) == ESPALIER_DAMAGED);
    EXPECT(says("member 'output_0.npy' has another shape or dtype than the model's 'y'"));
    espalier_destroy(model);
}

static void case_no_record(const char *path)
{
    espalier_model *model = open_model(&espalier_model_affine, path);
    EXPECT(remember(model, espalier_check(model, NULL)) == ESPALIER_NO_RECORD);
    EXPECT(says("no recorded run"));
    expect_results(model);
    espalier_destroy(model);
}

static void case_profile(const char *path)
{
    espalier_model *model = open_model(&espalier_model_affine, path);
    double seconds[2] = {-1, -1};
    EXPECT(remember(model, espalier_profile(model, seconds, 2)) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(says("has not run yet"));
    expect_results(model);
    EXPECT(remember(model, espalier_profile(model, seconds, 1)) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(says("expected room for 2 times, found 1"));
    EXPECT(espalier_profile(model, NULL, 2) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(remember(model, espalier_profile(model, seconds, 2)) == ESPALIER_OK);
    EXPECT(seconds[0] >= 0 && seconds[1] >= 0 && seconds[0] + seconds[1] > 0 && seconds[0] + seconds[1] < 10);
    espalier_destroy(model);
}

static void case_other_code(const char *path)
{
    espalier_model *model = (espalier_model *)1;
    espalier_code code = espalier_model_affine;
    EXPECT(espalier_create_from_file(&espalier_model_sums, path, &model, last, sizeof last) == ESPALIER_MISMATCH);
    EXPECT(model == NULL);
    EXPECT(says("(none-linux-fake fake-a1, fingerprint 0123456789abcdef0123456789abcdef) belongs to other code than this "
                "(fingerprint fedcba9876543210fedcba9876543210)"));
    code.fingerprint[31] = 'x';
    EXPECT(espalier_create_from_file(&code, path, &model, last, sizeof last) == ESPALIER_MISMATCH);
    code = espalier_model_affine;
    code.abi = ESPALIER_ABI + 1;
    EXPECT(espalier_create_from_file(&code, path, &model, last, sizeof last) == ESPALIER_VERSION);
    EXPECT(says("the code has ABI version 6, this runtime version 5"));
}

/* The code's own word counts: each of its needs, one off, and a buffer that nobody knows. */
static void case_other_sizes(const char *path)
{
    espalier_model *model;
    for (int field = 0; field < 9; field++) {
        espalier_code code = espalier_model_affine;
        uint64_t *const sizes[] = {&code.arena, &code.arena_per_step, &code.scratch, &code.stamps, &code.weights};
        uint32_t *const counts[] = {&code.input_count, &code.output_count, &code.message_count, &code.flags};
        if (field < 5)
            *sizes[field] += 1;
        else
            *counts[field - 5] += 1;
        EXPECT(espalier_create_from_file(&code, path, &model, last, sizeof last) == ESPALIER_DAMAGED);
        EXPECT(model == NULL && says("the model file is damaged: it says "));
    }
    for (int field = 0; field < 4; field++) {
        espalier_code code = espalier_model_affine;
        espalier_type types[3] = {code.tensors[0], code.tensors[1], code.tensors[2]};
        int64_t *const dims[] = {&types[0].dims[1], &types[1].dims[0]};
        uint32_t *const numbers[] = {&types[2].dtype, &types[0].rank};
        if (field < 2)
            *dims[field] += 1;
        else
            *numbers[field - 2] -= 1;
        code.tensors = types;
        EXPECT(espalier_create_from_file(&code, path, &model, last, sizeof last) == ESPALIER_DAMAGED);
        EXPECT(says("has another shape or dtype there than in the code"));
    }
    espalier_code code = espalier_model_affine;
    code.buffers = "inputs scratch outputs weights failures turn stamps arenas";
    EXPECT(espalier_create_from_file(&code, path, &model, last, sizeof last) == ESPALIER_VERSION);
    EXPECT(says("the code takes a buffer 'arenas' that this runtime does not know"));
    code.buffers = "inputs inputs inputs inputs inputs inputs inputs inputs inputs";
    EXPECT(espalier_create_from_file(&code, path, &model, last, sizeof last) == ESPALIER_VERSION);
}

/* ---- cases on files that are not what they should be ------------------------------------------------------- */

static void expect_refusal(const char *path, espalier_status status, const char *text)
{
    espalier_model *model;
    EXPECT(espalier_create_from_file(&espalier_model_affine, path, &model, last, sizeof last) == status);
    EXPECT(model == NULL && says(text));
    char small[5] = "....";
    EXPECT(espalier_create_from_file(&espalier_model_affine, path, &model, small, sizeof small) == status);
    EXPECT(strlen(small) == 4 && strncmp(small, last, 4) == 0);
}

static void case_missing(const char *path)
{
    expect_refusal(path, ESPALIER_IO, "cannot open");
}

static void case_foreign(const char *path)
{
    expect_refusal(path, ESPALIER_DAMAGED, "not an Espalier model file");
}

static void case_empty(const char *path)
{
    expect_refusal(path, ESPALIER_DAMAGED, "is empty or no regular file");
}

static void case_no_member(const char *path)
{
    expect_refusal(path, ESPALIER_DAMAGED, "no member 'abi'");
}

static void case_flipped_weights(const char *path)
{
    expect_refusal(path, ESPALIER_DAMAGED, "bad CRC-32 of member 'weights'");
}

static void case_too_few_weights(const char *path)
{
    expect_refusal(path, ESPALIER_DAMAGED, "expected 24 bytes of weights, found 20");
}

static void case_other_weights(const char *path)
{
    expect_refusal(path, ESPALIER_MISMATCH, "weights are not those that the code was compiled with");
}

static void case_newer(const char *path)
{
    expect_refusal(path, ESPALIER_VERSION, "ABI version 7, this runtime reads version 5; compile the model again");
}

/* ---- cases on the model with a free length ----------------------------------------------------------------- */

static espalier_status run_sums(espalier_model *model, float *x, size_t steps, float *sums)
{
    const float start[2] = {10, 20};
    const espalier_const_buffer inputs[2] = {{x, 8 * steps}, {start, sizeof start}};
    const espalier_buffer output = {sums, 8 * steps};
    return remember(model, espalier_run(model, inputs, 2, &output, 1));
}

static void case_free_length(const char *path)
{
    enum { STEPS = 100 };
    espalier_model *model = open_model(&espalier_model_sums, path);
    float x[2 * STEPS], sums[2 * STEPS];
    for (int i = 0; i < 2 * STEPS; i++)
        x[i] = 1;
    EXPECT(espalier_input(model, 0)->dims[0] == -1 && espalier_input(model, 0)->bytes == 8);
    EXPECT(run_sums(model, x, 1, sums) == ESPALIER_OK);
    EXPECT(run_sums(model, x, 2, sums) == ESPALIER_NOT_RESERVED);
    EXPECT(says("found 2 steps, room for 1; call espalier_reserve first"));
    EXPECT(espalier_reserve(model, STEPS) == ESPALIER_OK);
    EXPECT(espalier_reserve(model, 3) == ESPALIER_OK); /* never less than there was */
    EXPECT(espalier_set_threads(model, 4) == ESPALIER_OK); /* and yet it runs on one */
    for (size_t steps = 1; steps <= STEPS; steps += 33) {
        EXPECT(run_sums(model, x, steps, sums) == ESPALIER_OK);
        for (size_t i = 0; i < steps; i++)
            EXPECT(fabsf(sums[2 * i] - (float)(10 + steps - i)) < 1e-6f
                   && fabsf(sums[2 * i + 1] - (float)(20 + steps - i)) < 1e-6f);
    }
    espalier_destroy(model);
}

static void case_wrong_lengths(const char *path)
{
    espalier_model *model = open_model(&espalier_model_sums, path);
    float x[8] = {0}, sums[8], start[2] = {0};
    espalier_const_buffer inputs[2] = {{x, 12}, {start, sizeof start}};
    espalier_buffer output = {sums, sizeof sums};
    EXPECT(espalier_reserve(model, 4) == ESPALIER_OK);
    EXPECT(remember(model, espalier_run(model, inputs, 2, &output, 1)) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(says("input 'x': expected 8 bytes, found 12"));
    EXPECT(run_sums(model, x, 0, sums) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(says("at least one step"));
    inputs[0].bytes = sizeof x;
    output.bytes = sizeof sums - 1;
    EXPECT(remember(model, espalier_run(model, inputs, 2, &output, 1)) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(says("output 'sums': expected at least 32 bytes, found 31"));
    EXPECT(remember(model, espalier_reserve(model, 0)) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(remember(model, espalier_reserve(model, INT64_MAX)) == ESPALIER_OUT_OF_MEMORY);
    EXPECT(says("no memory for the arena of 9223372036854775807 steps"));
    EXPECT(run_sums(model, x, 4, sums) == ESPALIER_OK);
    espalier_destroy(model);
}

static void case_free_check(const char *path)
{
    espalier_model *model = open_model(&espalier_model_sums, path);
    double error;
    EXPECT(remember(model, espalier_check(model, &error)) == ESPALIER_OK);
    EXPECT(error < 1e-6);
    espalier_destroy(model);
}

/* ---- cases on the model with states ------------------------------------------------------------------------ */

static espalier_status run_running(espalier_model *model, float x, float y[2])
{
    const float given[2] = {x, 2 * x};
    const espalier_const_buffer input = {given, sizeof given};
    const espalier_buffer output = {y, sizeof given};
    return remember(model, espalier_run(model, &input, 1, &output, 1));
}

/* The running sum is `sum` and its double after `runs` runs. */
static void expect_states(espalier_model *model, float sum, int64_t runs)
{
    float total[2];
    int64_t count;
    EXPECT(espalier_get_state(model, 0, (espalier_buffer){total, sizeof total}) == ESPALIER_OK);
    EXPECT(espalier_get_state(model, 1, (espalier_buffer){&count, sizeof count}) == ESPALIER_OK);
    EXPECT(total[0] == sum && total[1] == 2 * sum && count == 5 + runs);
}

static void case_states(const char *path)
{
    espalier_model *model = open_model(&espalier_model_running, path);
    float y[2], sum = 0;
    EXPECT(espalier_input_count(model) == 1 && espalier_output_count(model) == 1 && espalier_state_count(model) == 2);
    EXPECT(espalier_input(model, 1) == NULL && espalier_output(model, 1) == NULL && espalier_state(model, 2) == NULL);
    EXPECT(strcmp(espalier_output(model, 0)->name, "y") == 0);
    EXPECT(strcmp(espalier_state(model, 1)->name, "part.runs") == 0 && espalier_state(model, 1)->dtype == ESPALIER_INT64);
    expect_states(model, 0, 0);
    for (int i = 1; i <= 5; i++) {
        EXPECT(espalier_set_threads(model, (unsigned)i % 3 + 1) == ESPALIER_OK);
        const int quiet = calls;
        sum += (float)i;
        EXPECT(run_running(model, (float)i, y) == ESPALIER_OK && y[0] == sum && y[1] == 2 * sum);
        EXPECT(calls == quiet);
        expect_states(model, sum, i);
    }
    const int quiet = calls;
    EXPECT(espalier_reset(model) == ESPALIER_OK && calls == quiet);
    expect_states(model, 0, 0);
    EXPECT(run_running(model, 3, y) == ESPALIER_OK && y[0] == 3);
    espalier_destroy(model);
}

static void case_failed_states(const char *path)
{
    espalier_model *model = open_model(&espalier_model_running, path);
    float y[2];
    EXPECT(run_running(model, 3, y) == ESPALIER_OK);
    EXPECT(run_running(model, 2000, y) == ESPALIER_MODEL_FAILED && says("x is too large"));
    expect_states(model, 3, 1);
    EXPECT(run_running(model, 4, y) == ESPALIER_OK && y[0] == 7);
    espalier_destroy(model);
}

static void case_set_states(const char *path)
{
    espalier_model *model = open_model(&espalier_model_running, path);
    const float other[2] = {10, 20};
    float y[2];
    EXPECT(espalier_set_state(model, 0, (espalier_const_buffer){other, sizeof other}) == ESPALIER_OK);
    EXPECT(run_running(model, 1, y) == ESPALIER_OK && y[0] == 11 && y[1] == 22);
    EXPECT(remember(model, espalier_set_state(model, 0, (espalier_const_buffer){other, 4}))
           == ESPALIER_INVALID_ARGUMENT);
    EXPECT(says("state 'total': expected 8 bytes, found 4"));
    EXPECT(remember(model, espalier_get_state(model, 1, (espalier_buffer){y, 7})) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(says("state 'part.runs': expected 8 bytes, found 7"));
    EXPECT(remember(model, espalier_get_state(model, 2, (espalier_buffer){y, 8})) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(says("the model has 2 states, found number 2"));
    EXPECT(remember(model, espalier_get_state(model, 0, (espalier_buffer){NULL, 8})) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(espalier_reset(NULL) == ESPALIER_INVALID_ARGUMENT && espalier_state_count(NULL) == 0);
    expect_states(model, 11, 1);
    espalier_destroy(model);
}

static void case_check_states(const char *path)
{
    espalier_model *model = open_model(&espalier_model_running, path);
    float y[2];
    double error = 1;
    EXPECT(run_running(model, 3, y) == ESPALIER_OK);
    EXPECT(remember(model, espalier_check(model, &error)) == ESPALIER_OK && error == 0);
    expect_states(model, 3, 1); /* its own again */
    espalier_destroy(model);
}

/* The recorded state of the first run is another one. */
static void case_check_other_states(const char *path)
{
    espalier_model *model = open_model(&espalier_model_running, path);
    EXPECT(remember(model, espalier_check(model, NULL)) == ESPALIER_DIFFERS);
    expect_states(model, 0, 0);
    espalier_destroy(model);
}

/* A file of two parts: code finds its own, and in the weights its first bytes. */
static void case_parts(const char *path)
{
    float y[2];
    double error = 1;
    espalier_model *first = open_model(&espalier_model_running, path);
    EXPECT(run_running(first, 3, y) == ESPALIER_OK && y[0] == 3);
    EXPECT(remember(first, espalier_check(first, &error)) == ESPALIER_OK && error == 0);
    espalier_destroy(first);
    espalier_model *second = open_model(&espalier_model_affine, path);
    expect_results(second);
    EXPECT(remember(second, espalier_check(second, &error)) == ESPALIER_OK && error < 1e-6);
    espalier_destroy(second);
    EXPECT(espalier_create_from_file(&espalier_model_sums, path, &first, last, sizeof last) == ESPALIER_MISMATCH);
    EXPECT(says("belongs to other code than this") && first == NULL);
}

static void case_no_state(const char *path)
{
    espalier_model *model = NULL;
    EXPECT(espalier_create_from_file(&espalier_model_running, path, &model, last, sizeof last) == ESPALIER_DAMAGED);
    EXPECT(says("no member 'state_0.npy'") && model == NULL);
}

/* ---- the check's arithmetic: prints the error that it found ------------------------------------------------ */

static void case_replay(const char *path)
{
    size_t size;
    char *file = read_bytes(path, 0, &size);
    espalier_bytes member;
    espalier_description said;
    espalier_code code = espalier_model_replay;
    EXPECT(espalier_archive_read((espalier_bytes){(uint8_t *)file, size}, "abi", &member, last) == ESPALIER_OK);
    EXPECT(espalier_description_read(member, &said, last) == ESPALIER_OK);
    const espalier_type types[2] = {{said.tensors[0].dtype, 1, {-1}}, {said.tensors[1].dtype, 1, {-1}}};
    code.tensors = types;
    code.weights = said.weights;
    EXPECT(espalier_archive_read((espalier_bytes){(uint8_t *)file, size}, "weights", &member, last) == ESPALIER_OK);
    espalier_digest(member, code.digest);
    espalier_description_free(&said);
    free(file);
    espalier_model *model = open_model(&code, path);
    double error = -1;
    const espalier_status status = remember(model, espalier_check(model, &error));
    EXPECT(status == (error <= 1e-4 ? ESPALIER_OK : ESPALIER_DIFFERS));
    printf("%.17g\n", error);
    espalier_destroy(model);
}

#define CASE(name) {#name, case_##name}

static const struct {
    const char *name;
    void (*run)(const char *path);
} CASES[] = {
    CASE(queries), CASE(run), CASE(memory), CASE(larger_outputs), CASE(null_pointers), CASE(wrong_buffers),
    CASE(wrong_threads), CASE(threads), CASE(cpus), CASE(fork), CASE(instances), CASE(no_allocation), CASE(no_memory), CASE(failure),
    CASE(check),
    CASE(check_differs), CASE(check_not_a_number), CASE(check_misfit), CASE(check_other_size), CASE(no_record), CASE(profile),
    CASE(other_code), CASE(other_sizes), CASE(missing), CASE(foreign), CASE(empty), CASE(no_member), CASE(flipped_weights),
    CASE(too_few_weights), CASE(other_weights), CASE(newer), CASE(free_length), CASE(wrong_lengths), CASE(free_check),
    CASE(states), CASE(failed_states), CASE(set_states), CASE(check_states), CASE(check_other_states), CASE(parts), CASE(no_state),
    CASE(replay)};

int main(int count, char **arguments)
{
    for (size_t i = 0; count == 3 && i < sizeof CASES / sizeof *CASES; i++)
        if (strcmp(arguments[1], CASES[i].name) == 0) {
            CASES[i].run(arguments[2]);
            return 0;
        }
    fprintf(stderr, "test_abi CASE FILE\n");
    return 2;
}
