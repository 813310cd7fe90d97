/* Reads the `abi` member, what the runtime must know of a model (runtime/abi.py has the layout). */
#ifndef ESPALIER_DESCRIPTION_H
#define ESPALIER_DESCRIPTION_H

#include <stdbool.h>

#include "support.h"

/* `texts` lists labels, then messages. Strings lie in the member; tensors and texts are allocated. */
typedef struct espalier_description {
    const char *fingerprint; /* 32 bytes */
    uint64_t arena, arena_per_step, scratch, stamps, weights;
    double tolerance;
    bool sequential;
    size_t input_count, output_count, label_count, message_count;
    size_t state_count; /* of the inputs, and of the outputs: the last ones */
    size_t free_count; /* free dimensions of all tensors */
    const char *target;
    espalier_tensor *tensors; /* inputs, then outputs */
    const char **texts;
} espalier_description;

espalier_status espalier_description_read(espalier_bytes member, espalier_description *description, char *message);
void espalier_description_free(espalier_description *description);

bool espalier_is_free(const espalier_tensor *tensor);

/* Bytes of one element; 0 where the number is no dtype. */
size_t espalier_dtype_bytes(espalier_dtype dtype);

#endif
