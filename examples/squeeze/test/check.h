#ifndef CHECK_H
#define CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "squeeze.h"

/* One line a test, at once, so that a watcher sees it when it is done. */
#define RUN(test)                                        \
  do {                                                   \
    const char *problem = test();                        \
    printf("%s  %s\n", problem ? "FAIL" : "ok  ", #test); \
    if (problem) printf("      %s\n", problem);          \
    fflush(stdout);                                      \
    failures += problem != NULL;                         \
  } while (0)

#define CHECK(what) \
  do {              \
    if (!(what)) return #what; \
  } while (0)

/* xorshift: the same numbers at every run. */
static uint32_t seed = 2463534242u;
static inline uint32_t next_random(void) {
  seed ^= seed << 13;
  seed ^= seed >> 17;
  return seed ^= seed << 5;
}

/* Whether the bytes come back as they were. */
static inline int survives(const uint8_t *bytes, size_t length) {
  uint8_t *packed = malloc(sqz_bound(length)), *plain = malloc(length + 1);
  size_t size = sqz_compress(bytes, length, packed);
  int good = size <= sqz_bound(length) && sqz_content_length(packed, size) == (int64_t)length &&
             sqz_expand(packed, size, plain) == 0 && memcmp(plain, bytes, length) == 0;
  free(packed);
  free(plain);
  return good;
}

#endif
