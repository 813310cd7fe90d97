/* What the runtime's files share: ranges of bytes, messages, zeroed memory, the clock. */
#ifndef ESPALIER_SUPPORT_H
#define ESPALIER_SUPPORT_H

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

/* Maps a regular file that is not empty; unmap it with munmap. */
espalier_status espalier_map_file(const char *path, espalier_bytes *file, char *message);

/* Processors that this process may run on; at least 1. */
unsigned espalier_cores(void);

/* Seconds on a clock that never goes back. */
double espalier_now(void);

#endif
