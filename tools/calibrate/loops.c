/* Times the loops of measure.py on a device: multiply-adds, then reads of buffers of LEVELS kibibytes.

   Prints one JSON object a line: {"gflops": G}, then {"kib": K, "gigabytes": B} for each level. LANES, SUMS, LEVELS,
   REPEATS, PEAK_TURNS and STREAM_BYTES (what a measurement reads) are given when this file is compiled. */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* A rank-1 memref's descriptor. */
struct memref {
    float *allocated, *aligned;
    int64_t offset, size, stride;
};

void _mlir_ciface_peak(int64_t count, int64_t again, struct memref *data, struct memref *sums);
void _mlir_ciface_stream(int64_t count, int64_t again, struct memref *data, struct memref *sums);

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static struct memref ones(size_t count)
{
    void *memory = NULL;
    if (posix_memalign(&memory, 64, count * sizeof(float)) != 0) {
        fputs("out of memory\n", stderr);
        exit(1);
    }
    for (size_t i = 0; i < count; i++)
        ((float *)memory)[i] = 1;
    return (struct memref){memory, memory, 0, (int64_t)count, 1};
}

/* Seconds of the fastest of REPEATS calls. */
static double fastest(void (*loop)(int64_t, int64_t, struct memref *, struct memref *), int64_t count, int64_t again,
                      struct memref *data, struct memref *sums)
{
    double best = 1e30;
    for (int i = 0; i < REPEATS; i++) {
        const double begin = now();
        loop(count, again, data, sums);
        const double seconds = now() - begin;
        best = seconds < best ? seconds : best;
    }
    return best;
}

int main(void)
{
    const int64_t levels[] = {LEVELS};
    struct memref sums = ones(SUMS * LANES), factors = ones(LANES);
    const double seconds = fastest(_mlir_ciface_peak, PEAK_TURNS, 1, &factors, &sums);
    printf("{\"gflops\": %.4f}\n", 2e-9 * PEAK_TURNS * SUMS * LANES / seconds);
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        const int64_t bytes = levels[i] << 10, again = bytes < STREAM_BYTES ? STREAM_BYTES / bytes : 1;
        struct memref buffer = ones((size_t)bytes / sizeof(float));
        const double took = fastest(_mlir_ciface_stream, buffer.size / LANES, again, &buffer, &sums);
        printf("{\"kib\": %lld, \"gigabytes\": %.4f}\n", (long long)levels[i], 1e-9 * (double)(bytes * again) / took);
        free(buffer.aligned);
    }
    free(factors.aligned);
    free(sums.aligned);
    return fflush(stdout) != 0;
}
