/* What the runtime's files share: ranges of bytes, messages, zeroed memory, the clock. */
#ifndef ESPALIER_SUPPORT_H
#define ESPALIER_SUPPORT_H

#include <stdbool.h>
#include <sys/types.h>

#include "espalier.h"

typedef struct espalier_bytes {
    const uint8_t *data;
    size_t size;
} espalier_bytes;

uint32_t espalier_read_u32(const uint8_t *at);
uint64_t espalier_read_u64(const uint8_t *at);

/* Writes the message (`message` holds ESPALIER_MESSAGE_BYTES) and returns `status`. */
espalier_status espalier_fail(char *message, espalier_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Zeroed memory aligned to 64 bytes, on huge pages where it is large and the system gives them; null where
   there is none. For `free`. */
void *espalier_zeroed(size_t bytes);

/* The same, for large memory that is not touched yet: pages come in when something is written. `*block` is what
   `free` takes. */
void *espalier_untouched(size_t bytes, void **block);

/* Maps a regular file that is not empty; unmap it with munmap. */
espalier_status espalier_map_file(const char *path, espalier_bytes *file, char *message);

enum { ESPALIER_CPUS = 1024 };

/* Processors by their numbers: bit `cpu % 64` of word `cpu / 64`. A `count` of 0 names none, and stands for those
   that the calling thread may run on. */
typedef struct espalier_cpus {
    uint64_t bits[ESPALIER_CPUS / 64];
    unsigned count;
} espalier_cpus;

/* Processors that the calling thread may run on; at least 1. */
unsigned espalier_cores(void);

/* Those of `cpus` that are fast: with at least 60 % of the capacity of the fastest one; all where the system tells no
   capacity. At least 1. */
unsigned espalier_fast_cores(const espalier_cpus *cpus);

/* The processors with `numbers`; ESPALIER_INVALID_ARGUMENT and a message where one is not there. */
espalier_status espalier_cpus_of(const unsigned *numbers, size_t count, espalier_cpus *cpus, char *message);

/* Has another thread of this process run on its processors but the caller's; `home` becomes what it could run on
   before, unless it names processors already. False where there is no other, or the system refuses it. */
bool espalier_send_away(pid_t thread, espalier_cpus *home);

/* Has the calling thread run on `cpus` only; false where the system refuses it. */
bool espalier_pin(const espalier_cpus *cpus);

/* Seconds on a clock that never goes back. */
double espalier_now(void);

#endif
