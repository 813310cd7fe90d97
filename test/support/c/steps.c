/* A real recurrent model through the C interface, at lengths that are chosen at run time:

       steps MODEL X THREADS LENGTH... > outputs

   X holds frames, raw floats; each run takes the first LENGTH of them, and appends its outputs. Before the first
   `espalier_reserve` a model has room for one step: a longer run must fail, say so, and leave no trace. A shorter
   run needs no new room, a longer one does.

   ESPALIER_MODEL is the name of the model's `espalier_code`, given when this file is compiled. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "espalier.h"

#define EXPECT(condition)                                                                                       \
    do {                                                                                                        \
        if (!(condition)) {                                                                                     \
            fprintf(stderr, "%s:%d: expected %s; last: %s\n", __FILE__, __LINE__, #condition, last(model)); \
            exit(1);                                                                                            \
        }                                                                                                       \
    } while (0)

enum { MOST_STEPS = 1000, MOST_OUTPUTS = 3 };

extern const espalier_code ESPALIER_MODEL;

static const char *last(const espalier_model *model)
{
    return model == NULL ? "no model" : espalier_last_error(model);
}

/* Bytes of a tensor for `steps` steps. */
static size_t bytes_of(const espalier_tensor *tensor, long steps)
{
    for (uint32_t i = 0; i < tensor->rank; i++)
        if (tensor->dims[i] < 0)
            return tensor->bytes * (size_t)steps;
    return tensor->bytes;
}

static espalier_status run(espalier_model *model, const float *frames, long steps, espalier_buffer *outputs)
{
    const espalier_const_buffer input = {frames, bytes_of(espalier_input(model, 0), steps)};
    return espalier_run(model, &input, 1, outputs, espalier_output_count(model));
}

static void expect_no_room(espalier_model *model, const float *frames, long room, espalier_buffer *outputs)
{
    char message[ESPALIER_MESSAGE_BYTES];
    snprintf(message, sizeof message, "found %ld steps, room for %ld; call espalier_reserve first", room + 1, room);
    EXPECT(run(model, frames, room + 1, outputs) == ESPALIER_NOT_RESERVED);
    EXPECT(strcmp(espalier_last_error(model), message) == 0);
}

int main(int count, char **arguments)
{
    espalier_model *model = NULL;
    char message[ESPALIER_MESSAGE_BYTES];
    if (count < 5 || espalier_create_from_file(&ESPALIER_MODEL, arguments[1], &model, message, sizeof message)) {
        fprintf(stderr, "%s\n", count < 5 ? "steps MODEL X THREADS LENGTH..." : message);
        return 1;
    }
    EXPECT(espalier_input_count(model) == 1 && espalier_output_count(model) <= MOST_OUTPUTS);
    float *frames = calloc(MOST_STEPS, espalier_input(model, 0)->bytes);
    FILE *file = fopen(arguments[2], "rb");
    EXPECT(frames != NULL && file != NULL);
    EXPECT(fread(frames, espalier_input(model, 0)->bytes, MOST_STEPS, file) > 0);
    fclose(file);
    espalier_buffer outputs[MOST_OUTPUTS] = {{NULL, 0}};
    for (size_t i = 0; i < espalier_output_count(model); i++) {
        outputs[i].bytes = bytes_of(espalier_output(model, i), MOST_STEPS);
        outputs[i].data = malloc(outputs[i].bytes);
        EXPECT(outputs[i].data != NULL);
    }
    EXPECT(espalier_set_threads(model, (unsigned)atoi(arguments[3])) == ESPALIER_OK);
    EXPECT(run(model, frames, 0, outputs) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(espalier_reserve(model, 0) == ESPALIER_INVALID_ARGUMENT);
    EXPECT(strcmp(espalier_last_error(model), "expected at least one step, found 0") == 0);
    long room = 1;
    for (int i = 4; i < count; i++) {
        const long steps = atol(arguments[i]);
        expect_no_room(model, frames, room, outputs);
        if (steps > room) {
            EXPECT(espalier_reserve(model, steps) == ESPALIER_OK);
            room = steps;
            expect_no_room(model, frames, room, outputs);
        }
        EXPECT(run(model, frames, steps, outputs) == ESPALIER_OK);
        for (size_t k = 0; k < espalier_output_count(model); k++)
            fwrite(outputs[k].data, 1, bytes_of(espalier_output(model, k), steps), stdout);
    }
    for (size_t i = 0; i < espalier_output_count(model); i++)
        free(outputs[i].data);
    free(frames);
    espalier_destroy(model);
    return 0;
}
