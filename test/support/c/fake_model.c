/* See fake_model.h. */
#define _POSIX_C_SOURCE 200809L
#include "fake_model.h"
#include "team.h"

#include <string.h>
#include <time.h>

#ifndef AFFINE_STAMPS
#define AFFINE_STAMPS 3 /* more of them are never written */
#endif

enum { VALUES = 6 };

/* As generated code does it (sparse_dialect/lowering/cpu/team.py): the next chunk of `count` items. */
static bool claim(espalier_turn *turn, int64_t threads, int64_t count)
{
    if (threads == 1) {
        turn->begin = 0;
        turn->end = turn->alone == 0 ? count : 0;
        turn->alone = turn->end > 0;
    } else {
        turn->claim(turn, count);
    }
    return turn->begin < turn->end;
}

static void barrier(espalier_turn *turn, int64_t threads)
{
    if (threads != 1)
        turn->wait(turn);
}

static void stamp(int64_t *stamps, int64_t thread, int number)
{
    struct timespec now;
    if (thread != 0)
        return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    stamps[number] = now.tv_sec * 1000000000 + now.tv_nsec;
}

static void affine(void *const *buffers, const int64_t *sizes, int64_t thread, int64_t threads)
{
    const float *x = buffers[0], *weights = buffers[4];
    float *scratch = buffers[1], *y = buffers[2], *product = buffers[8];
    int64_t *positives = buffers[3], *stamps = buffers[7];
    int32_t *failures = buffers[5];
    espalier_turn *turn = buffers[6];
    (void)sizes;
    stamp(stamps, thread, 0);
    while (claim(turn, threads, VALUES))
        for (int64_t i = turn->begin; i < turn->end; i++) {
            scratch[i] = weights[i] * x[i];
            product[i] = scratch[i];
        }
    stamp(stamps, thread, 1);
    barrier(turn, threads);
    while (claim(turn, threads, VALUES))
        for (int64_t i = turn->begin; i < turn->end; i++)
            y[i] = product[i] + product[(i + 1) % VALUES];
    while (claim(turn, threads, 1)) {
        if (x[0] > 1000.0f)
            failures[0] = 2;
        for (int row = 0; row < 2; row++)
            positives[row] = (x[3 * row] > 0) + (x[3 * row + 1] > 0) + (x[3 * row + 2] > 0);
    }
    stamp(stamps, thread, 2);
    barrier(turn, threads);
}

static void sums(void *const *buffers, const int64_t *sizes, int64_t thread, int64_t threads)
{
    const float *x = buffers[0], *start = buffers[1];
    float *results = buffers[3], *arena = buffers[8];
    (void)thread;
    for (int64_t i = 2 * sizes[0] - 1; i >= 0; i--)
        arena[i] = x[i] + (i + 2 < 2 * sizes[1] ? arena[i + 2] : start[i % 2]);
    for (int64_t i = 0; i < 2 * sizes[1] * threads; i++)
        results[i] = arena[i];
}

static void replay(void *const *buffers, const int64_t *sizes, int64_t thread, int64_t threads)
{
    const uint64_t *weights = buffers[3]; /* aligned, as the runtime promises */
    (void)thread, (void)threads;
    memcpy(buffers[2], weights + 1, weights[0] * (uint64_t)sizes[1]);
}

/* With two states: a running sum, which y is too, and the number of runs. */
static void running(void *const *buffers, const int64_t *sizes, int64_t thread, int64_t threads)
{
    const float *x = buffers[0], *sum = buffers[1];
    const int64_t *runs = buffers[2];
    float *y = buffers[4], *next = buffers[5];
    int64_t *count = buffers[6];
    int32_t *failures = buffers[8];
    espalier_turn *turn = buffers[9];
    (void)sizes, (void)thread;
    while (claim(turn, threads, 1)) {
        for (int i = 0; i < 2; i++)
            y[i] = next[i] = sum[i] + x[i];
        *count = *runs + 1;
        if (x[0] > 1000.0f)
            *failures = 1;
    }
    barrier(turn, threads);
}

#define BUFFERS "inputs scratch outputs weights failures turn stamps arena"

static const espalier_type AFFINE[] = {
    {ESPALIER_FLOAT32, 2, {2, 3}}, {ESPALIER_FLOAT32, 2, {2, 3}}, {ESPALIER_INT64, 1, {2}}};
static const espalier_type SUMS[] = {
    {ESPALIER_FLOAT32, 2, {-1, 2}}, {ESPALIER_FLOAT32, 1, {2}}, {ESPALIER_FLOAT32, 2, {-1, 2}}};
static const espalier_type RUNNING[] = {
    {ESPALIER_FLOAT32, 1, {2}}, {ESPALIER_FLOAT32, 1, {2}}, {ESPALIER_INT64, 0, {0}},
    {ESPALIER_FLOAT32, 1, {2}}, {ESPALIER_FLOAT32, 1, {2}}, {ESPALIER_INT64, 0, {0}}};

const espalier_code espalier_model_affine = {
    .abi = ESPALIER_ABI, .entry = affine, .arena = 24, .scratch = 6, .stamps = AFFINE_STAMPS, .weights = 24,
    .input_count = 1, .output_count = 2, .message_count = 2, .tensors = AFFINE, .buffers = BUFFERS,
    .digest = {0x69, 0xc3, 0x53, 0x05, 0x1a, 0x5d, 0xd3, 0x9c, 0x03, 0xc7, 0x6c, 0xfe, 0x16, 0x08, 0x45, 0x28,
               0x71, 0x9d, 0x48, 0x48, 0xc5, 0xcf, 0xe4, 0x18, 0x99, 0x91, 0xfe, 0x36, 0x16, 0x3f, 0x72, 0xc7},
    .fingerprint = {'0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
                    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'}};
const espalier_code espalier_model_sums = {
    .abi = ESPALIER_ABI, .entry = sums, .flags = ESPALIER_SEQUENTIAL, .arena_per_step = 8,
    .input_count = 2, .output_count = 1, .tensors = SUMS, .buffers = BUFFERS,
    .digest = {0x0e, 0x57, 0x51, 0xc0, 0x26, 0xe5, 0x43, 0xb2, 0xe8, 0xab, 0x2e, 0xb0, 0x60, 0x99, 0xda, 0xa1,
               0xd1, 0xe5, 0xdf, 0x47, 0x77, 0x8f, 0x77, 0x87, 0xfa, 0xab, 0x45, 0xcd, 0xf1, 0x2f, 0xe3, 0xa8},
    .fingerprint = {'f', 'e', 'd', 'c', 'b', 'a', '9', '8', '7', '6', '5', '4', '3', '2', '1', '0',
                    'f', 'e', 'd', 'c', 'b', 'a', '9', '8', '7', '6', '5', '4', '3', '2', '1', '0'}};
const espalier_code espalier_model_replay = {
    .abi = ESPALIER_ABI, .entry = replay, .input_count = 1, .output_count = 1, .buffers = BUFFERS,
    .fingerprint = {'0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0',
                    '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0'}};
const espalier_code espalier_model_running = {
    .abi = ESPALIER_ABI, .entry = running, .input_count = 3, .output_count = 3, .message_count = 1, .tensors = RUNNING,
    .buffers = BUFFERS,
    .digest = {0x0e, 0x57, 0x51, 0xc0, 0x26, 0xe5, 0x43, 0xb2, 0xe8, 0xab, 0x2e, 0xb0, 0x60, 0x99, 0xda, 0xa1,
               0xd1, 0xe5, 0xdf, 0x47, 0x77, 0x8f, 0x77, 0x87, 0xfa, 0xab, 0x45, 0xcd, 0xf1, 0x2f, 0xe3, 0xa8},
    .fingerprint = {'1', '1', '1', '1', '1', '1', '1', '1', '1', '1', '1', '1', '1', '1', '1', '1',
                    '1', '1', '1', '1', '1', '1', '1', '1', '1', '1', '1', '1', '1', '1', '1', '1'}};
