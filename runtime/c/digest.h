/* What code knows its weights by. */
#ifndef ESPALIER_DIGEST_H
#define ESPALIER_DIGEST_H

#include "support.h"

/* BLAKE2b of 32 bytes without a key (RFC 7693), as Python's hashlib.blake2b(digest_size=32) gives it. */
void espalier_digest(espalier_bytes bytes, uint8_t digest[ESPALIER_DIGEST_BYTES]);

#endif
