/* Writes megabytes to standard output and standard error in each call. */
#include "base.h"

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  static char text[1 << 20];
  memset(text, 'x', sizeof text);
  for (size_t i = 100; i < sizeof text; i += 100) text[i] = '\n';
  for (int i = 0; i < 4; i++)
    if (write(i % 2 + 1, text, sizeof text) < 0) break;
  base_call(instance, call, request);
}
#define CALL broken_call
#include "entry.h"
