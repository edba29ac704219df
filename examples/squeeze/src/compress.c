#include <string.h>

#include "squeeze.h"

#define HASH_BITS 15

size_t sqz_bound(size_t length) { return SQZ_HEADER + length + length / SQZ_MAX_LITERALS + 1; }

static void put32(uint8_t *out, uint32_t value) {
  for (int i = 0; i < 4; i++) out[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t hash4(const uint8_t *at) {
  uint32_t word;
  memcpy(&word, at, sizeof word);
  return (word * 2654435761u) >> (32 - HASH_BITS);
}

static uint8_t *put_literals(uint8_t *out, const uint8_t *from, size_t count) {
  while (count > 0) {
    size_t run = count < SQZ_MAX_LITERALS ? count : SQZ_MAX_LITERALS;
    *out++ = (uint8_t)(run - 1);
    memcpy(out, from, run);
    out += run;
    from += run;
    count -= run;
  }
  return out;
}

size_t sqz_compress(const uint8_t *in, size_t length, uint8_t *out) {
  /* Positions are kept plus one, so that zero means that none is known. */
  static uint32_t last[1u << HASH_BITS];
  memset(last, 0, sizeof last);

  uint8_t *to = out + SQZ_HEADER;
  memcpy(out, "SQZ1", 4);
  put32(out + 4, (uint32_t)length);
  put32(out + 8, sqz_crc32(in, length));

  size_t at = 0, literals = 0;
  while (at + SQZ_MIN_MATCH <= length) {
    uint32_t slot = hash4(in + at);
    size_t candidate = last[slot];
    last[slot] = (uint32_t)at + 1;

    size_t match = 0;
    if (candidate > 0 && at - (candidate - 1) <= SQZ_WINDOW) {
      const uint8_t *earlier = in + candidate - 1;
      size_t most = length - at < SQZ_MAX_MATCH ? length - at : SQZ_MAX_MATCH;
      while (match < most && earlier[match] == in[at + match]) match++;
    }
    if (match < SQZ_MIN_MATCH) {
      at++;
      literals++;
      continue;
    }
    to = put_literals(to, in + at - literals, literals);
    literals = 0;
    size_t distance = at - (candidate - 1);
    *to++ = (uint8_t)(0x80 | (match - SQZ_MIN_MATCH));
    *to++ = (uint8_t)distance;
    *to++ = (uint8_t)(distance >> 8);
    at += match;
  }
  literals += length - at;
  to = put_literals(to, in + length - literals, literals);
  return (size_t)(to - out);
}
