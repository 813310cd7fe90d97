/* The model file's loader on damaged files. Three uses:

       fuzz_loader MODEL ROUNDS         flips every bit, cuts at every length, then ROUNDS random changes whose checksums
                                        are put right again, with a fixed seed, so that the parsers behind them are met
       fuzz_loader -replay FILE         one file
       clang -fsanitize=fuzzer -DLIBFUZZER ...   LLVM's fuzzer, from the same entry

   The code is real: ESPALIER_MODEL names the `espalier_code` that the files belong to, the affine model where it is not
   given. A sanitizer ends the program where something reads or writes out of bounds. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_model.h"

#ifndef ESPALIER_MODEL
#define ESPALIER_MODEL espalier_model_affine
#endif

extern const espalier_code ESPALIER_MODEL;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Loads the bytes, from memory that ends where they do; returns what creating and checking said. */
static espalier_status load(const espalier_code *code, const uint8_t *data, size_t size)
{
    char message[ESPALIER_MESSAGE_BYTES] = "";
    espalier_model *model;
    uint8_t *copy = malloc(size);
    if (size > 0)
        memcpy(copy, data, size);
    espalier_status status = espalier_create_from_memory(code, copy, size, &model, message, sizeof message);
    if (status == ESPALIER_OK) {
        for (size_t i = 0; i < espalier_input_count(model); i++)
            (void)strlen(espalier_input(model, i)->name);
        for (size_t i = 0; i < espalier_label_count(model); i++)
            (void)strlen(espalier_label(model, i));
        status = espalier_check(model, NULL);
        espalier_destroy(model);
    } else if (model != NULL || message[0] == 0) {
        fprintf(stderr, "status %d without a message\n", (int)status);
        abort();
    }
    free(copy);
    return status;
}

static uint32_t crc_of(const uint8_t *data, size_t size)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

#ifdef LIBFUZZER

enum { HEADER = 30 };

/* Puts the checksum of every member right, so that what stands in it is met. */
static void repair(uint8_t *data, size_t size)
{
    for (size_t at = 0; size - at >= HEADER && memcmp(data + at, "PK\3\4", 4) == 0;) {
        uint16_t name, extra;
        uint32_t bytes;
        memcpy(&bytes, data + at + 22, 4);
        memcpy(&name, data + at + 26, 2);
        memcpy(&extra, data + at + 28, 2);
        const size_t start = at + HEADER + name + extra;
        if (start > size || bytes > size - start)
            return;
        const uint32_t crc = crc_of(data + start, bytes);
        memcpy(data + at + 14, &crc, 4);
        at = start + bytes;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + 1);
    if (size > 0)
        memcpy(copy, data, size);
    load(&ESPALIER_MODEL, copy, size);
    repair(copy, size);
    load(&ESPALIER_MODEL, copy, size);
    free(copy);
    return 0;
}

#else

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    load(&ESPALIER_MODEL, data, size);
    return 0;
}

static uint8_t *image;
static size_t length;

static void read_image(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0)
        exit(2);
    length = (size_t)ftell(file);
    rewind(file);
    image = malloc(length);
    if (fread(image, 1, length, file) != length)
        exit(2);
    fclose(file);
}

static void expect(int condition, const char *what, size_t at)
{
    if (!condition) {
        fprintf(stderr, "%s %zu: taken for a good file\n", what, at);
        exit(1);
    }
}

/* Where a member's data lies; its checksum is at *header + 14. */
static size_t find_member(const char *name, size_t *header, size_t *size)
{
    for (size_t at = 0; memcmp(image + at, "PK\3\4", 4) == 0; at = *header + 30 + *size) {
        uint16_t name_length, extra_length;
        uint32_t bytes;
        memcpy(&bytes, image + at + 22, 4);
        memcpy(&name_length, image + at + 26, 2);
        memcpy(&extra_length, image + at + 28, 2);
        *header = at;
        *size = bytes;
        if (strlen(name) == name_length && memcmp(image + at + 30, name, name_length) == 0)
            return at + 30u + name_length + extra_length;
        *size += name_length + extra_length;
    }
    fprintf(stderr, "no member %s\n", name);
    exit(2);
}

/* A flipped bit in what the runtime reads is noticed; elsewhere the run must give the recorded outputs, or say that it
   finds no record. */
static void flip_every_bit(void)
{
    size_t header, size;
    const size_t weights = find_member("weights", &header, &size), end = weights + size;
    for (size_t at = 0; at < length; at++)
        for (int bit = 0; bit < 8; bit++) {
            image[at] ^= (uint8_t)(1 << bit);
            const espalier_status status = load(&ESPALIER_MODEL, image, length);
            expect(status != ESPALIER_DIFFERS, "outputs with a flipped bit in byte", at);
            expect(status != ESPALIER_OK || at < weights || at >= end, "a flipped bit in the weights at byte", at);
            image[at] ^= (uint8_t)(1 << bit);
        }
}

static void cut_everywhere(void)
{
    for (size_t size = 0; size < length; size++)
        expect(load(&ESPALIER_MODEL, image, size) == ESPALIER_DAMAGED, "a file cut at byte", size);
}

static uint64_t seed = 20261121;

static size_t draw(size_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(seed >> 33) % below;
}

static void change_members(int rounds)
{
    static const char *const NAMES[] = {"abi", "abi", "input_0.npy", "output_0.npy", "output_1.npy", "weights"};
    static const uint8_t EDGES[] = {0, 1, 2, 127, 128, 254, 255, '(', ')', '9'};
    uint8_t *original = malloc(length);
    memcpy(original, image, length);
    for (int round = 0; round < rounds; round++) {
        size_t header, size;
        const size_t start = find_member(NAMES[draw(6)], &header, &size);
        for (size_t changes = 1 + draw(4); changes > 0; changes--)
            image[start + draw(size)] = draw(2) ? (uint8_t)draw(256) : EDGES[draw(sizeof EDGES)];
        const uint32_t crc = crc_of(image + start, size);
        memcpy(image + header + 14, &crc, 4);
        LLVMFuzzerTestOneInput(image, length);
        memcpy(image, original, length);
    }
    free(original);
}

int main(int count, char **arguments)
{
    if (count != 3)
        return 2;
    if (strcmp(arguments[1], "-replay") == 0) {
        read_image(arguments[2]);
        LLVMFuzzerTestOneInput(image, length);
    } else {
        read_image(arguments[1]);
        expect(load(&ESPALIER_MODEL, image, length) != ESPALIER_OK ? 0 : 1, "whole file, byte", length);
        flip_every_bit();
        cut_everywhere();
        change_members(atoi(arguments[2]));
    }
    free(image);
    return 0;
}

#endif
