#include "check.h"

#define LENGTH 3000
static uint8_t plain[LENGTH], packed[2 * LENGTH], damaged[2 * LENGTH], result[LENGTH + 1];
static size_t size;

static void prepare(void) {
  for (size_t i = 0; i < LENGTH; i++) plain[i] = (uint8_t)(next_random() % 4 ? i / 16 : next_random());
  size = sqz_compress(plain, LENGTH, packed);
}

/* A damaged stream is refused, or the damage made no difference; never is something else given out. */
static int harmless(size_t length) {
  if (sqz_content_length(damaged, length) != LENGTH) return 1;
  return sqz_expand(damaged, length, result) != 0 || memcmp(result, plain, LENGTH) == 0;
}

static const char *every_flipped_bit(void) {
  for (size_t bit = 0; bit < size * 8; bit++) {
    memcpy(damaged, packed, size);
    damaged[bit / 8] ^= (uint8_t)(1u << bit % 8);
    CHECK(harmless(size));
  }
  return NULL;
}

static const char *every_truncation(void) {
  memcpy(damaged, packed, size);
  for (size_t length = 0; length < size; length++) {
    CHECK(sqz_content_length(damaged, length) < 0 || sqz_expand(damaged, length, result) != 0);
  }
  return NULL;
}

static const char *bytes_exchanged_at_random(void) {
  for (int round = 0; round < 60000; round++) {
    memcpy(damaged, packed, size);
    for (uint32_t n = 1 + next_random() % 4; n > 0; n--) damaged[next_random() % size] = (uint8_t)next_random();
    CHECK(harmless(size));
  }
  return NULL;
}

int main(void) {
  int failures = 0;
  prepare();
  RUN(every_flipped_bit);
  RUN(every_truncation);
  RUN(bytes_exchanged_at_random);
  return failures > 0;
}
