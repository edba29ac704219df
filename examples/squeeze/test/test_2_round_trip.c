#include "check.h"

static const char *every_short_length(void) {
  uint8_t bytes[600];
  for (size_t length = 0; length < sizeof bytes; length++) {
    for (size_t i = 0; i < length; i++) bytes[i] = (uint8_t)next_random();
    CHECK(survives(bytes, length));
  }
  return NULL;
}

static const char *runs_of_every_length(void) {
  uint8_t bytes[600];
  memset(bytes, 0x80, sizeof bytes);
  for (size_t length = 0; length < sizeof bytes; length++) CHECK(survives(bytes, length));
  return NULL;
}

static const char *repetitions_beyond_the_window(void) {
  size_t length = 3 * SQZ_WINDOW;
  uint8_t *bytes = malloc(length);
  for (size_t i = 0; i < length; i++) bytes[i] = i < SQZ_WINDOW + 9 ? (uint8_t)next_random() : bytes[i - SQZ_WINDOW - 9];
  int good = survives(bytes, length);
  free(bytes);
  CHECK(good);
  return NULL;
}

/* Content of every degree of order, from one letter to noise. */
static const char *thirty_thousand_random_inputs(void) {
  static uint8_t bytes[8192];
  for (int round = 0; round < 30000; round++) {
    uint32_t letters = 1 + next_random() % 256;
    size_t length = next_random() % sizeof bytes;
    for (size_t i = 0; i < length; i++) bytes[i] = (uint8_t)(next_random() % letters);
    CHECK(survives(bytes, length));
  }
  return NULL;
}

int main(void) {
  int failures = 0;
  RUN(every_short_length);
  RUN(runs_of_every_length);
  RUN(repetitions_beyond_the_window);
  RUN(thirty_thousand_random_inputs);
  return failures > 0;
}
