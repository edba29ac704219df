#include <string.h>

#include "squeeze.h"

static uint32_t get32(const uint8_t *in) {
  return (uint32_t)in[0] | (uint32_t)in[1] << 8 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 24;
}

int64_t sqz_content_length(const uint8_t *in, size_t length) {
  if (length < SQZ_HEADER || memcmp(in, "SQZ1", 4) != 0) return -1;
  return get32(in + 4);
}

int sqz_expand(const uint8_t *in, size_t length, uint8_t *out) {
  int64_t content = sqz_content_length(in, length);
  if (content < 0) return -1;

  const uint8_t *end = in + length, *from = in + SQZ_HEADER;
  size_t written = 0, room = (size_t)content;
  while (from < end) {
    uint8_t token = *from++;
    if (token < 0x80) {
      size_t run = (size_t)token + 1;
      if (run > (size_t)(end - from) || run > room - written) return -1;
      memcpy(out + written, from, run);
      from += run;
      written += run;
    } else {
      if (end - from < 2) return -1;
      size_t distance = (size_t)from[0] | (size_t)from[1] << 8;
      size_t match = (size_t)(token & 0x7f) + SQZ_MIN_MATCH;
      from += 2;
      if (distance == 0 || distance > written || match > room - written) return -1;
      /* The two may overlap: a run of one byte is a match at distance 1. */
      for (size_t i = 0; i < match; i++, written++) out[written] = out[written - distance];
    }
  }
  return written == room && sqz_crc32(out, written) == get32(in + 8) ? 0 : -1;
}
