/* See support.h. */
#define _DEFAULT_SOURCE /* madvise */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { ALIGNMENT = 64, HUGE_PAGE = 2 << 20 };

uint32_t espalier_read_u32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

uint64_t espalier_read_u64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

espalier_status espalier_fail(char *message, espalier_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, ESPALIER_MESSAGE_BYTES, format, arguments);
    va_end(arguments);
    for (char *at = message; *at != 0; at++) /* names come from files: no control characters on a terminal */
        if ((unsigned char)*at < ' ' || *at == 127)
            *at = '?';
    return status;
}

void *espalier_zeroed(size_t bytes)
{
    const size_t alignment = bytes < HUGE_PAGE ? (size_t)ALIGNMENT : (size_t)HUGE_PAGE;
    void *memory = NULL;
    if (posix_memalign(&memory, alignment, bytes ? bytes : 1) != 0)
        return NULL;
#ifdef MADV_HUGEPAGE
    if (alignment == HUGE_PAGE)
        madvise(memory, bytes, MADV_HUGEPAGE); /* a wish: failing is fine */
#endif
    memset(memory, 0, bytes); /* also brings the pages in, so that no run has to */
    return memory;
}

void *espalier_untouched(size_t bytes, void **block)
{
    const size_t alignment = bytes < HUGE_PAGE ? (size_t)ALIGNMENT : (size_t)HUGE_PAGE;
    size_t whole;
    *block = __builtin_add_overflow(bytes, alignment, &whole) ? NULL : calloc(1, whole);
    if (*block == NULL)
        return NULL;
    void *memory = (void *)(((uintptr_t)*block + alignment - 1) / alignment * alignment);
#ifdef MADV_HUGEPAGE
    if (alignment == HUGE_PAGE)
        madvise(memory, bytes, MADV_HUGEPAGE); /* a wish: failing is fine */
#endif
    return memory;
}

espalier_status espalier_map_file(const char *path, espalier_bytes *file, char *message)
{
    struct stat about;
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* not to wait for a pipe's writer */
    if (descriptor < 0)
        return espalier_fail(message, ESPALIER_IO, "cannot open '%.150s': %s", path, strerror(errno));
    if (fstat(descriptor, &about) != 0 || !S_ISREG(about.st_mode) || about.st_size <= 0) {
        close(descriptor);
        return espalier_fail(message, ESPALIER_DAMAGED, "'%.150s' is empty or no regular file", path);
    }
    file->size = (size_t)about.st_size;
    void *data = mmap(NULL, file->size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    const int reason = errno;
    close(descriptor);
    if (data == MAP_FAILED)
        return espalier_fail(message, ESPALIER_IO, "cannot map '%.150s': %s", path, strerror(reason));
    file->data = data;
    return ESPALIER_OK;
}

double espalier_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
