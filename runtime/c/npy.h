/* Arrays in NumPy's .npy format, as the recorded pair and the runner's files have them. */
#ifndef ESPALIER_NPY_H
#define ESPALIER_NPY_H

#include <stdbool.h>

#include "support.h"

typedef struct espalier_npy {
    espalier_dtype dtype;
    uint32_t rank;
    int64_t dims[ESPALIER_MAX_RANK];
    espalier_bytes data;
} espalier_npy;

/* Reads an array where it lies; little-endian and row-major only. */
espalier_status espalier_npy_read(espalier_bytes file, espalier_npy *array, char *message);

/* Whether the array is a value of the tensor: same dtype, same shape but for a free dimension. */
bool espalier_npy_fits(const espalier_npy *array, const espalier_tensor *tensor);

enum { ESPALIER_NPY_HEADER = 256 };

/* Writes the header that comes before a tensor's data, whose free dimension has `steps`; returns its length. */
size_t espalier_npy_header(const espalier_tensor *tensor, int64_t steps, char header[ESPALIER_NPY_HEADER]);

#endif
