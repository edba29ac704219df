#include "check.h"

static const char *crc_of_the_check_string(void) {
  CHECK(sqz_crc32((const uint8_t *)"123456789", 9) == 0xcbf43926u);
  return NULL;
}

static const char *nothing_is_a_header_alone(void) {
  uint8_t packed[SQZ_HEADER + 1];
  CHECK(sqz_compress((const uint8_t *)"", 0, packed) == SQZ_HEADER);
  CHECK(memcmp(packed, "SQZ1\0\0\0\0\0\0\0\0", SQZ_HEADER) == 0);
  return NULL;
}

static const char *a_run_becomes_matches(void) {
  static uint8_t plain[100000], packed[110000];
  memset(plain, 'a', sizeof plain);
  CHECK(sqz_compress(plain, sizeof plain, packed) < 2400);
  return NULL;
}

static const char *text_becomes_smaller(void) {
  static char plain[60000];
  static uint8_t packed[70000];
  size_t length = 0;
  for (int i = 0; length < 50000; i++) length += (size_t)sprintf(plain + length, "line %d of a log that says much the same\n", i);
  CHECK(sqz_compress((uint8_t *)plain, length, packed) < length / 3);
  return NULL;
}

static const char *a_foreign_file_is_refused(void) {
  CHECK(sqz_content_length((const uint8_t *)"GIF89a......", 12) == -1);
  CHECK(sqz_content_length((const uint8_t *)"SQZ1", 4) == -1);
  return NULL;
}

int main(void) {
  int failures = 0;
  RUN(crc_of_the_check_string);
  RUN(nothing_is_a_header_alone);
  RUN(a_run_becomes_matches);
  RUN(text_becomes_smaller);
  RUN(a_foreign_file_is_refused);
  return failures > 0;
}
