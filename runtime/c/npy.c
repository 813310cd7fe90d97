/* See npy.h; the format is NumPy's NEP 1: magic, version, header length, a Python dict as text, data. */
#include "npy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "description.h"

enum { ALIGNMENT = 64, TEXT = 1024 };

static const uint8_t MAGIC[6] = {0x93, 'N', 'U', 'M', 'P', 'Y'};
static const char *const CODES[] = {
    [ESPALIER_FLOAT32] = "<f4", [ESPALIER_FLOAT64] = "<f8", [ESPALIER_FLOAT16] = "<f2",
    [ESPALIER_INT8] = "|i1", [ESPALIER_INT16] = "<i2", [ESPALIER_INT32] = "<i4", [ESPALIER_INT64] = "<i8",
    [ESPALIER_UINT8] = "|u1", [ESPALIER_UINT16] = "<u2", [ESPALIER_UINT32] = "<u4", [ESPALIER_UINT64] = "<u8",
    [ESPALIER_BOOL] = "|b1"};

/* What comes behind `key` in the header, a Python dict. */
static const char *after(const char *header, const char *key)
{
    const char *found = strstr(header, key);
    return found == NULL ? NULL : found + strlen(key);
}

static bool read_dtype(const char *header, espalier_dtype *dtype)
{
    const char *text = after(header, "'descr': '");
    for (uint32_t i = ESPALIER_FLOAT32; text != NULL && i <= ESPALIER_BOOL; i++)
        if (strncmp(text, CODES[i], 3) == 0 && text[3] == '\'') {
            *dtype = (espalier_dtype)i;
            return true;
        }
    return false;
}

/* Reads `(1, 3)`, `(7,)` or `()`. */
static bool read_shape(const char *header, espalier_npy *array)
{
    const char *text = after(header, "'shape': (");
    if (text == NULL)
        return false;
    for (array->rank = 0; *text >= '0' && *text <= '9'; array->rank++) {
        int64_t size = 0;
        for (; *text >= '0' && *text <= '9'; text++)
            if (__builtin_mul_overflow(size, 10, &size) || __builtin_add_overflow(size, *text - '0', &size))
                return false;
        if (array->rank == ESPALIER_MAX_RANK)
            return false;
        array->dims[array->rank] = size;
        text += strspn(text, ", ");
    }
    return *text == ')';
}

static bool read_header(espalier_bytes file, espalier_npy *array, size_t *start)
{
    char header[TEXT + 1];
    if (file.size < 12 || memcmp(file.data, MAGIC, sizeof MAGIC) != 0)
        return false;
    const size_t prefix = file.data[6] == 1 ? 10 : 12; /* version 1 has a length of two bytes, later ones of four */
    const size_t length = prefix == 10 ? (size_t)(file.data[8] | file.data[9] << 8) : espalier_read_u32(file.data + 8);
    if (length > file.size - prefix || length > TEXT)
        return false;
    memcpy(header, file.data + prefix, length);
    header[length] = 0;
    *start = prefix + length;
    return after(header, "'fortran_order': False") != NULL && read_dtype(header, &array->dtype)
        && read_shape(header, array);
}

espalier_status espalier_npy_read(espalier_bytes file, espalier_npy *array, char *message)
{
    size_t start;
    if (!read_header(file, array, &start))
        return espalier_fail(message, ESPALIER_DAMAGED, "no .npy array of numbers, little-endian, row-major, of up to "
                             "%d dimensions", ESPALIER_MAX_RANK);
    size_t bytes = espalier_dtype_bytes(array->dtype);
    bool overflow = false;
    for (uint32_t i = 0; i < array->rank; i++)
        overflow |= __builtin_mul_overflow(bytes, (size_t)array->dims[i], &bytes);
    if (overflow || bytes != file.size - start)
        return espalier_fail(message, ESPALIER_DAMAGED, ".npy array: its shape and its %zu bytes differ",
                             file.size - start);
    array->data = (espalier_bytes){file.data + start, bytes};
    return ESPALIER_OK;
}

bool espalier_npy_fits(const espalier_npy *array, const espalier_tensor *tensor)
{
    bool same = tensor->dtype == array->dtype && tensor->rank == array->rank;
    for (uint32_t i = 0; same && i < tensor->rank; i++)
        same = tensor->dims[i] < 0 || tensor->dims[i] == array->dims[i];
    return same;
}

size_t espalier_npy_header(const espalier_tensor *tensor, int64_t steps, char header[ESPALIER_NPY_HEADER])
{
    const size_t prefix = 10, room = ESPALIER_NPY_HEADER - prefix;
    char *text = header + prefix;
    int length = snprintf(text, room, "{'descr': '%s', 'fortran_order': False, 'shape': (", CODES[tensor->dtype]);
    for (uint32_t i = 0; i < tensor->rank; i++) {
        const int64_t size = tensor->dims[i] < 0 ? steps : tensor->dims[i];
        length += snprintf(text + length, room - (size_t)length, "%" PRId64 ",", size);
    }
    length += snprintf(text + length, room - (size_t)length, "), }");
    const size_t total = (prefix + (size_t)length + 1 + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    memset(text + length, ' ', total - prefix - (size_t)length);
    header[total - 1] = '\n';
    memcpy(header, MAGIC, sizeof MAGIC);
    header[6] = 1;
    header[7] = 0;
    header[8] = (char)((total - prefix) & 255);
    header[9] = (char)((total - prefix) >> 8);
    return total;
}
