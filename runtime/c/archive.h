/* Reads the compiled-model file: a ZIP archive of uncompressed members, each at a multiple of 64 bytes (see
   runtime/model_file.py, which writes it). */
#ifndef ESPALIER_ARCHIVE_H
#define ESPALIER_ARCHIVE_H

#include <stdbool.h>

#include "support.h"

/* Whether `file` is a whole archive: members without gaps up to the directory, and an end. */
espalier_status espalier_archive_check(espalier_bytes file, char *message);

bool espalier_archive_holds(espalier_bytes file, const char *name);

/* The bytes of a member; `read` verifies its checksum. */
espalier_status espalier_archive_find(espalier_bytes file, const char *name, espalier_bytes *member, char *message);
espalier_status espalier_archive_read(espalier_bytes file, const char *name, espalier_bytes *member, char *message);

#endif
