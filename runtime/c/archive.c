/* See archive.h. The writer knows each member's size beforehand, so local headers are complete, and walking
   them from the start finds every member; ZIP appnote 4.3.7 has their layout. */
#include "archive.h"

#include <string.h>

enum { ALIGNMENT = 64, HEADER = 30, END = 22, EXTRA_HEADER = 4, ZIP64 = 1, STREAMED = 8 };

static const char LOCAL[4] = {'P', 'K', 3, 4}, DIRECTORY[4] = {'P', 'K', 1, 2}, LAST[4] = {'P', 'K', 5, 6};

typedef struct entry {
    espalier_bytes name, member;
    uint32_t crc;
} entry;

static uint16_t read_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

static bool starts_with(espalier_bytes file, size_t at, const char signature[4])
{
    return at <= file.size && file.size - at >= 4 && memcmp(file.data + at, signature, 4) == 0;
}

/* A member above 4 GiB has its size in the extra field. */
static bool read_zip64(espalier_bytes extra, uint64_t *size)
{
    for (size_t at = 0; at + EXTRA_HEADER <= extra.size;) {
        const size_t length = read_u16(extra.data + at + 2);
        if (read_u16(extra.data + at) == ZIP64) {
            if (length < 16 || extra.size - at < EXTRA_HEADER + length)
                return false;
            *size = espalier_read_u64(extra.data + at + EXTRA_HEADER);
            return espalier_read_u64(extra.data + at + EXTRA_HEADER + 8) == *size;
        }
        at += EXTRA_HEADER + length;
    }
    return false;
}

/* Reads the member whose local header is at *at, and moves *at behind it. */
static bool next(espalier_bytes file, size_t *at, entry *found)
{
    if (!starts_with(file, *at, LOCAL) || file.size - *at < HEADER)
        return false;
    const uint8_t *header = file.data + *at;
    const size_t name = read_u16(header + 26), extra = read_u16(header + 28);
    const size_t left = file.size - *at - HEADER;
    uint64_t size = espalier_read_u32(header + 22);
    if (read_u16(header + 6) & STREAMED || read_u16(header + 8) != 0 || name + extra > left)
        return false;
    const espalier_bytes extras = {header + HEADER + name, extra};
    if (size == UINT32_MAX ? !read_zip64(extras, &size) : espalier_read_u32(header + 18) != size)
        return false;
    const size_t start = *at + HEADER + name + extra;
    if (start % ALIGNMENT != 0 || size > left - name - extra)
        return false;
    found->name = (espalier_bytes){header + HEADER, name};
    found->member = (espalier_bytes){file.data + start, (size_t)size};
    found->crc = espalier_read_u32(header + 14);
    *at = start + (size_t)size;
    return true;
}

static bool find(espalier_bytes file, const char *name, entry *found)
{
    const size_t length = strlen(name);
    for (size_t at = 0; next(file, &at, found);)
        if (found->name.size == length && memcmp(found->name.data, name, length) == 0)
            return true;
    return false;
}

/* CRC-32 as ZIP has it, eight bytes a step. */
static uint32_t crc_of(espalier_bytes bytes)
{
    uint32_t table[8][256];
    for (uint32_t i = 0; i < 256; i++) {
        table[0][i] = i;
        for (int bit = 0; bit < 8; bit++)
            table[0][i] = table[0][i] >> 1 ^ (table[0][i] & 1 ? 0xEDB88320u : 0);
    }
    for (int step = 1; step < 8; step++)
        for (int i = 0; i < 256; i++)
            table[step][i] = table[step - 1][i] >> 8 ^ table[0][table[step - 1][i] & 255];
    uint32_t crc = UINT32_MAX;
    const uint8_t *at = bytes.data, *end = bytes.data + bytes.size;
    for (; end - at >= 8; at += 8) {
        const uint64_t word = espalier_read_u64(at) ^ crc;
        crc = 0;
        for (int byte = 0; byte < 8; byte++)
            crc ^= table[7 - byte][word >> 8 * byte & 255];
    }
    for (; at < end; at++)
        crc = crc >> 8 ^ table[0][(crc ^ *at) & 255];
    return ~crc;
}

espalier_status espalier_archive_check(espalier_bytes file, char *message)
{
    if (!starts_with(file, 0, LOCAL))
        return espalier_fail(message, ESPALIER_DAMAGED, "not an Espalier model file");
    size_t at = 0;
    entry ignored;
    while (next(file, &at, &ignored))
        continue;
    if (!starts_with(file, at, DIRECTORY) || file.size < END || !starts_with(file, file.size - END, LAST))
        return espalier_fail(message, ESPALIER_DAMAGED, "the model file is damaged or truncated (byte %zu)", at);
    return ESPALIER_OK;
}

bool espalier_archive_holds(espalier_bytes file, const char *name)
{
    entry ignored;
    return find(file, name, &ignored);
}

espalier_status espalier_archive_find(espalier_bytes file, const char *name, espalier_bytes *member, char *message)
{
    entry found;
    if (!find(file, name, &found))
        return espalier_fail(message, ESPALIER_DAMAGED, "the model file has no member '%s'", name);
    *member = found.member;
    return ESPALIER_OK;
}

espalier_status espalier_archive_read(espalier_bytes file, const char *name, espalier_bytes *member, char *message)
{
    entry found;
    if (!find(file, name, &found))
        return espalier_fail(message, ESPALIER_DAMAGED, "the model file has no member '%s'", name);
    if (crc_of(found.member) != found.crc)
        return espalier_fail(message, ESPALIER_DAMAGED, "the model file is damaged: bad CRC-32 of member '%s'", name);
    *member = found.member;
    return ESPALIER_OK;
}
