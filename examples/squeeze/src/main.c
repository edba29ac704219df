#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "squeeze.h"

static uint8_t *read_all(FILE *file, size_t *length) {
  size_t room = 1 << 16;
  uint8_t *bytes = malloc(room);
  *length = 0;
  while (bytes) {
    *length += fread(bytes + *length, 1, room - *length, file);
    if (*length < room) break;
    uint8_t *more = realloc(bytes, room *= 2);
    if (!more) free(bytes);
    bytes = more;
  }
  return bytes;
}

/* squeeze < plain > packed; squeeze -d < packed > plain */
int main(int argc, char **argv) {
  int expanding = argc == 2 && strcmp(argv[1], "-d") == 0;
  if (argc > 1 && !expanding) {
    fprintf(stderr, "usage: squeeze [-d] < input > output\n");
    return 2;
  }
  size_t length;
  uint8_t *in = read_all(stdin, &length);
  int64_t size = expanding ? sqz_content_length(in, length) : (int64_t)sqz_bound(length);
  uint8_t *out = in && size >= 0 ? malloc((size_t)size + 1) : NULL;
  if (!out || (expanding && sqz_expand(in, length, out) != 0)) {
    fprintf(stderr, "squeeze: the input is damaged or too large\n");
    return 1;
  }
  if (!expanding) size = (int64_t)sqz_compress(in, length, out);
  int failed = fwrite(out, 1, (size_t)size, stdout) != (size_t)size || fflush(stdout) != 0;
  free(in);
  free(out);
  return failed;
}
