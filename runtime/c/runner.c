/* The program around one model: `espalier compile --emit exe`, and what `espalier run --device` sends along.

       runner FILE [--check] [--input X.npy]... [--output Y.npy]... [--threads N] [--cpus LIST] [--repeat N] [--profile]
              [--count]

   Without --input, runs are made on the recorded inputs. Prints one JSON object a line: {"check": E}, then
   {"threads": N, "runs": N, "median_ms": M, "min_ms": M, "max_ms": M}, then {"label": L, "ms": M} for each statement
   of the last run. --threads 0 takes one a fast processor; --cpus 4-7,2 runs on these processors only. --count marks
   the last run for tools/count/count_regions.c. On an error: one line on stderr and exit code 1.

   ESPALIER_MODEL is the name of the model's `espalier_code`, given when this file is compiled. With ESPALIER_VULKAN in
   its place the program runs any model of a GPU, on the device `--gpu N`, and checks it many times: drivers are known
   that are wrong now and then. */
#define _DEFAULT_SOURCE /* syscall */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "model.h"

#ifdef ESPALIER_VULKAN
#include "vulkan.h"
enum { CHECKS = 20 };
#else
extern const espalier_code ESPALIER_MODEL;
enum { CHECKS = 1 };
#endif

struct options {
    const char *file;
    const char **inputs, **outputs; /* paths */
    size_t input_count, output_count;
    unsigned threads, repeat;
    int32_t gpu;      /* its number; -1: discrete, then integrated, then any */
    const char *cpus; /* null: wherever the system puts the threads */
    bool check, profile, count;
};

/* Everything that a run needs. */
struct job {
#ifdef ESPALIER_VULKAN
    espalier_gpu *gpu;
#endif
    espalier_model *model;
    espalier_const_buffer *inputs;
    espalier_buffer *outputs;
    int64_t steps;
};

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list arguments;
    fputs("runner: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static void *must(void *memory)
{
    if (memory == NULL)
        die("out of memory");
    return memory;
}

static void succeed(const struct job *job, espalier_status status)
{
    if (status != ESPALIER_OK)
        die("%s", espalier_last_error(job->model));
}

/* ---- options ---------------------------------------------------------------------------------------------- */

static unsigned number(const char *option, const char *text, unsigned least)
{
    char *end;
    const unsigned long value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != 0 || value < least || value > 1000000)
        die("%s expects a number of at least %u, found '%s'", option, least, text);
    return (unsigned)value;
}

/* The number at *text, which then stands behind it. */
static unsigned cpu_at(const char **text, const char *whole)
{
    char *end;
    const unsigned long cpu = strtoul(*text, &end, 10);
    if (**text < '0' || **text > '9' || cpu >= ESPALIER_CPUS)
        die("--cpus expects processors such as 4-7,2, found '%s'", whole);
    *text = end;
    return (unsigned)cpu;
}

/* Has this thread, and those that it starts, run on the processors of `list` only. */
static void pin(const char *list)
{
    unsigned numbers[ESPALIER_CPUS];
    size_t count = 0;
    char reason[ESPALIER_MESSAGE_BYTES];
    espalier_cpus cpus;
    for (const char *at = list;; at++) {
        const unsigned first = cpu_at(&at, list);
        const bool is_range = *at == '-';
        at += is_range;
        const unsigned last = is_range ? cpu_at(&at, list) : first;
        if (last < first || count + (last - first) >= ESPALIER_CPUS || (*at != ',' && *at != 0))
            die("--cpus expects processors such as 4-7,2, found '%s'", list);
        for (unsigned cpu = first; cpu <= last; cpu++)
            numbers[count++] = cpu;
        if (*at == 0)
            break;
    }
    if (espalier_cpus_of(numbers, count, &cpus, reason) != ESPALIER_OK)
        die("%s", reason);
    if (!espalier_pin(&cpus))
        die("the system does not let this program run on processors %s", list);
}

static struct options parse(int count, char **arguments)
{
    struct options found = {.threads = 1, .repeat = 1, .gpu = -1};
    found.inputs = must(calloc((size_t)count, sizeof *found.inputs));
    found.outputs = must(calloc((size_t)count, sizeof *found.outputs));
    for (int i = 1; i < count; i++) {
        const char *option = arguments[i];
        const char *value = i + 1 < count ? arguments[i + 1] : NULL;
        if (strcmp(option, "--check") == 0) {
            found.check = true;
        } else if (strcmp(option, "--profile") == 0) {
            found.profile = true;
        } else if (strcmp(option, "--count") == 0) {
            found.count = true;
        } else if (option[0] != '-' && found.file == NULL) {
            found.file = option;
        } else {
            if (value == NULL)
                die("'%s' is no option, or its value is missing", option);
            if (strcmp(option, "--input") == 0)
                found.inputs[found.input_count++] = value;
            else if (strcmp(option, "--output") == 0)
                found.outputs[found.output_count++] = value;
            else if (strcmp(option, "--threads") == 0)
                found.threads = number(option, value, 0);
            else if (strcmp(option, "--cpus") == 0)
                found.cpus = value;
#ifdef ESPALIER_VULKAN
            else if (strcmp(option, "--gpu") == 0)
                found.gpu = (int32_t)number(option, value, 0);
#endif
            else if (strcmp(option, "--repeat") == 0)
                found.repeat = number(option, value, 1);
            else
                die("'%s' is no option", option);
            i++;
        }
    }
    if (found.file == NULL)
        die("which model file? runner FILE [--check] [--input X.npy]... [--output Y.npy]... [--threads N] [--cpus LIST] "
            "[--repeat N] [--profile] [--count]");
    return found;
}

/* ---- arrays ----------------------------------------------------------------------------------------------- */

/* Input `index` from its file, or from the recorded run. */
static espalier_npy read_input(const struct job *job, const struct options *options, size_t index)
{
    const espalier_tensor *tensor = espalier_input(job->model, index);
    char reason[ESPALIER_MESSAGE_BYTES];
    espalier_bytes file;
    espalier_npy array;
    if (options->input_count == 0) {
        succeed(job, espalier_record_read(job->model, "input", index, &array));
        return array;
    }
    const char *path = options->inputs[index];
    if (espalier_map_file(path, &file, reason) != ESPALIER_OK)
        die("%s", reason);
    if (espalier_npy_read(file, &array, reason) != ESPALIER_OK)
        die("'%s': %s", path, reason);
    if (!espalier_npy_fits(&array, tensor))
        die("'%s' has another shape or dtype than the model's '%s'", path, tensor->name);
    return array;
}

static void load_inputs(struct job *job, const struct options *options)
{
    const size_t count = espalier_input_count(job->model);
    if (options->input_count != 0 && options->input_count != count)
        die("the model has %zu inputs, found %zu --input files", count, options->input_count);
    job->inputs = must(calloc(count + 1, sizeof *job->inputs));
    job->steps = 1;
    for (size_t i = 0; i < count; i++) {
        const espalier_tensor *tensor = espalier_input(job->model, i);
        const espalier_npy array = read_input(job, options, i);
        job->inputs[i] = (espalier_const_buffer){array.data.data, array.data.size};
        if (espalier_is_free(tensor))
            job->steps = espalier_steps_of(tensor, array.data.size);
    }
}

static void make_outputs(struct job *job, const struct options *options)
{
    const size_t count = espalier_output_count(job->model);
    if (options->output_count != 0 && options->output_count != count)
        die("the model has %zu outputs, found %zu --output files", count, options->output_count);
    job->outputs = must(calloc(count + 1, sizeof *job->outputs));
    for (size_t i = 0; i < count; i++) {
        const espalier_tensor *tensor = espalier_output(job->model, i);
        const size_t bytes = tensor->bytes * (espalier_is_free(tensor) ? (size_t)job->steps : 1);
        job->outputs[i] = (espalier_buffer){must(espalier_zeroed(bytes)), bytes};
    }
}

static void write_output(const struct job *job, size_t index, const char *path)
{
    char header[ESPALIER_NPY_HEADER];
    const espalier_buffer *output = &job->outputs[index];
    const size_t length = espalier_npy_header(espalier_output(job->model, index), job->steps, header);
    FILE *file = fopen(path, "wb");
    if (file == NULL)
        die("cannot write '%s': %s", path, strerror(errno));
    const bool written = fwrite(header, 1, length, file) == length
        && fwrite(output->data, 1, output->bytes, file) == output->bytes;
    if (fclose(file) != 0 || !written)
        die("cannot write '%s': %s", path, strerror(errno));
}

/* ---- reports ---------------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_times(double *seconds, unsigned runs, unsigned threads)
{
    qsort(seconds, runs, sizeof *seconds, compare);
    const double median = (seconds[(runs - 1) / 2] + seconds[runs / 2]) / 2;
    printf("{\"threads\": %u, \"runs\": %u, \"median_ms\": %.4f, \"min_ms\": %.4f, \"max_ms\": %.4f}\n", threads, runs,
           1e3 * median, 1e3 * seconds[0], 1e3 * seconds[runs - 1]);
}

static void print_string(const char *text)
{
    putchar('"');
    for (; *text != 0; text++)
        if (*text == '"' || *text == '\\' || (unsigned char)*text < ' ')
            printf("\\u%04x", (unsigned)*text);
        else
            putchar(*text);
    putchar('"');
}

static void print_profile(const struct job *job)
{
    const size_t count = espalier_label_count(job->model);
    double *seconds = must(calloc(count + 1, sizeof *seconds));
    succeed(job, espalier_profile(job->model, seconds, count));
    for (size_t i = 0; i < count; i++) {
        printf("{\"label\": ");
        print_string(espalier_label(job->model, i));
        printf(", \"ms\": %.4f}\n", 1e3 * seconds[i]);
    }
    free(seconds);
}

/* ---- main ------------------------------------------------------------------------------------------------- */

static void check(const struct job *job)
{
    double error, most = 0;
    for (int i = 0; i < CHECKS; i++) {
        succeed(job, espalier_check(job->model, &error));
        most = error > most ? error : most;
    }
    printf("{\"check\": %.3e}\n", most);
}

/* A marker for the counting plugin. Without one the system refuses the call, and nothing happens. */
static void mark(long order, const void *words, uint64_t count)
{
    const long marker = 0x5eed;
    syscall(SYS_getpriority, marker, order, words, count);
}

static void run(struct job *job, const struct options *options)
{
    const long stop = 0, watch = 2;
    const size_t inputs = espalier_input_count(job->model), outputs = espalier_output_count(job->model);
    double *seconds = must(calloc(options->repeat, sizeof *seconds));
    load_inputs(job, options);
    make_outputs(job, options);
    succeed(job, espalier_reserve(job->model, job->steps));
    for (unsigned i = 0; i < options->repeat; i++) {
        if (options->count && i + 1 == options->repeat)
            mark(watch, job->model->stamps, job->model->description.stamps);
        const double begin = espalier_now();
        succeed(job, espalier_run(job->model, job->inputs, inputs, job->outputs, outputs));
        seconds[i] = espalier_now() - begin;
    }
    if (options->count)
        mark(stop, NULL, 0);
    for (size_t i = 0; i < options->output_count; i++)
        write_output(job, i, options->outputs[i]);
    print_times(seconds, options->repeat, job->model->threads);
    if (options->profile)
        print_profile(job);
    free(seconds);
}

static espalier_status create(struct job *job, const struct options *options, char *message)
{
#ifdef ESPALIER_VULKAN
    const espalier_gpu_options how = {.device = options->gpu, .timestamps = options->profile};
    const espalier_status status = espalier_gpu_create(&how, &job->gpu, message, ESPALIER_MESSAGE_BYTES);
    if (status != ESPALIER_OK)
        return status;
    return espalier_create_from_file_on(job->gpu, options->file, &job->model, message, ESPALIER_MESSAGE_BYTES);
#else
    return espalier_create_from_file(&ESPALIER_MODEL, options->file, &job->model, message, ESPALIER_MESSAGE_BYTES);
#endif
}

/* Not on the way out of `die`: the system does it then. */
static void release(struct job *job, struct options *options)
{
    for (size_t i = 0; i < espalier_output_count(job->model); i++)
        free(job->outputs[i].data);
    free(job->inputs);
    free(job->outputs);
    free(options->inputs);
    free(options->outputs);
    espalier_destroy(job->model);
#ifdef ESPALIER_VULKAN
    espalier_gpu_destroy(job->gpu);
#endif
}

int main(int count, char **arguments)
{
    struct options options = parse(count, arguments);
    struct job job = {0};
    char message[ESPALIER_MESSAGE_BYTES];
    if (options.cpus != NULL)
        pin(options.cpus);
    if (create(&job, &options, message) != ESPALIER_OK)
        die("%s", message);
    succeed(&job, espalier_set_threads(job.model, options.threads));
    if (options.check)
        check(&job);
    run(&job, &options);
    release(&job, &options);
    if (fflush(stdout) != 0)
        die("cannot write: %s", strerror(errno));
    return 0;
}
