/* Reads standard input to its end before it answers. */
#include "base.h"

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  if (!is(request, LIST_FIELDS)) return base_call(instance, call, request);
  char text[64];
  while (read(0, text, sizeof text) > 0) {
  }
  base_call(instance, call, request);
}
#define CALL broken_call
#include "entry.h"
