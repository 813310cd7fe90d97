/* Proves a compiled model on this machine, runs it on a file and prints where its first output is largest:

       example net.espalier input.bin [THREADS] */
#include <stdio.h>
#include <stdlib.h>

#include "net.h" /* espalier compile ... --name net --emit header -o net.h */

enum { MAX_TENSORS = 16 };

/* What one run needs; inputs come one after another in the file. */
struct arrays {
    espalier_const_buffer inputs[MAX_TENSORS];
    espalier_buffer outputs[MAX_TENSORS];
};

static int complain(const char *message)
{
    fprintf(stderr, "example: %s\n", message);
    return 1;
}

static int read_inputs(const espalier_model *model, const char *path, espalier_const_buffer *inputs)
{
    FILE *file = fopen(path, "rb");
    int complete = file != NULL;
    for (size_t i = 0; complete && i < espalier_input_count(model); i++) {
        const size_t bytes = espalier_input(model, i)->bytes;
        void *data = malloc(bytes);
        inputs[i] = (espalier_const_buffer){data, bytes};
        complete = data != NULL && fread(data, 1, bytes, file) == bytes;
    }
    if (file != NULL)
        fclose(file);
    return complete;
}

static int make_outputs(const espalier_model *model, espalier_buffer *outputs)
{
    int complete = 1;
    for (size_t i = 0; i < espalier_output_count(model); i++) {
        const size_t bytes = espalier_output(model, i)->bytes;
        outputs[i] = (espalier_buffer){malloc(bytes), bytes};
        complete &= outputs[i].data != NULL;
    }
    return complete;
}

static void print_largest(const espalier_buffer *output)
{
    const float *values = output->data;
    size_t largest = 0;
    for (size_t i = 1; i < output->bytes / sizeof *values; i++)
        if (values[i] > values[largest])
            largest = i;
    printf("largest output: number %zu, %g\n", largest, (double)values[largest]);
}

static int work(espalier_model *model, const char *input, unsigned threads, struct arrays *arrays)
{
    const size_t inputs = espalier_input_count(model), outputs = espalier_output_count(model);
    double error;
    if (espalier_set_threads(model, threads) != ESPALIER_OK || espalier_check(model, &error) != ESPALIER_OK)
        return complain(espalier_last_error(model));
    printf("check passed: error %.1e of the largest output\n", error);
    if (inputs > MAX_TENSORS || outputs > MAX_TENSORS || !make_outputs(model, arrays->outputs))
        return complain("too many tensors, or no memory for them");
    if (!read_inputs(model, input, arrays->inputs))
        return complain("the input file is missing or too short");
    if (espalier_run(model, arrays->inputs, inputs, arrays->outputs, outputs) != ESPALIER_OK)
        return complain(espalier_last_error(model));
    if (espalier_output(model, 0)->dtype == ESPALIER_FLOAT32)
        print_largest(&arrays->outputs[0]);
    return 0;
}

int main(int count, char **arguments)
{
    char message[ESPALIER_MESSAGE_BYTES];
    struct arrays arrays = {0};
    espalier_model *model;
    if (count < 3)
        return complain("give net.espalier and input.bin");
    if (espalier_create_from_file(&espalier_model_net, arguments[1], &model, message, sizeof message) != ESPALIER_OK)
        return complain(message);
    const int failed = work(model, arguments[2], count > 3 ? (unsigned)atoi(arguments[3]) : 1, &arrays);
    espalier_destroy(model);
    for (size_t i = 0; i < MAX_TENSORS; i++) {
        free((void *)(uintptr_t)arrays.inputs[i].data);
        free(arrays.outputs[i].data);
    }
    return failed;
}
