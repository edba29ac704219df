#ifndef SQUEEZE_H
#define SQUEEZE_H

#include <stddef.h>
#include <stdint.h>

/* The most bytes that sqz_compress writes for `length` bytes. */
size_t sqz_bound(size_t length);

/* Compresses into `out`, which holds sqz_bound(length) bytes. Returns the number of bytes written. */
size_t sqz_compress(const uint8_t *in, size_t length, uint8_t *out);

/* The length of the content that a stream says it holds, or -1 when it is no stream. */
int64_t sqz_content_length(const uint8_t *in, size_t length);

/* Expands into `out`, which holds sqz_content_length bytes. Returns 0, or -1 for a damaged stream. */
int sqz_expand(const uint8_t *in, size_t length, uint8_t *out);

uint32_t sqz_crc32(const uint8_t *bytes, size_t length);

#define SQZ_HEADER 12
#define SQZ_MIN_MATCH 4
#define SQZ_MAX_MATCH (127 + SQZ_MIN_MATCH)
#define SQZ_MAX_LITERALS 128
#define SQZ_WINDOW 65535

#endif
