/* The parsers of single members, each on memory that ends where the member does, so that a sanitizer sees every byte
   that is read too many. The first byte of an input chooses: the description, an array, the archive.

       fuzz_members FILE...     each file's every shorter length, and the whole
       clang -fsanitize=fuzzer -DLIBFUZZER ...   LLVM's fuzzer, from the same entry */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive.h"
#include "description.h"
#include "npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile size_t read_last; /* what the compiler must not leave out */

static void touch(espalier_bytes bytes)
{
    if (bytes.size > 0)
        read_last = (size_t)bytes.data[0] + bytes.data[bytes.size - 1];
}

static void describe(espalier_bytes member, char *message)
{
    char header[ESPALIER_NPY_HEADER];
    espalier_description found;
    if (espalier_description_read(member, &found, message) != ESPALIER_OK)
        return;
    read_last = strlen(found.target);
    for (size_t i = 0; i < found.input_count + found.output_count; i++) {
        read_last = strlen(found.tensors[i].name);
        read_last = espalier_npy_header(&found.tensors[i], INT64_MAX, header);
    }
    for (size_t i = 0; i < found.label_count + found.message_count; i++)
        read_last = strlen(found.texts[i]);
    espalier_description_free(&found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char message[ESPALIER_MESSAGE_BYTES];
    if (size == 0)
        return 0;
    uint8_t *copy = malloc(size - 1);
    memcpy(copy, data + 1, size - 1);
    const espalier_bytes member = {copy, size - 1};
    espalier_bytes found;
    espalier_npy array;
    if (data[0] % 3 == 0) {
        describe(member, message);
    } else if (data[0] % 3 == 1) {
        if (espalier_npy_read(member, &array, message) == ESPALIER_OK)
            touch(array.data);
    } else {
        espalier_archive_check(member, message);
        if (espalier_archive_read(member, "abi", &found, message) == ESPALIER_OK)
            touch(found);
    }
    free(copy);
    return 0;
}

#ifndef LIBFUZZER

int main(int count, char **paths)
{
    for (int i = 1; i < count; i++) {
        FILE *file = fopen(paths[i], "rb");
        if (file == NULL || fseek(file, 0, SEEK_END) != 0)
            return 2;
        const size_t length = (size_t)ftell(file);
        uint8_t *data = malloc(length + 1);
        rewind(file);
        if (fread(data, 1, length, file) != length)
            return 2;
        fclose(file);
        for (size_t size = 0; size <= length; size++)
            LLVMFuzzerTestOneInput(data, size);
        free(data);
    }
    return 0;
}

#endif
