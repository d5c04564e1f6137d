/* Allocates memory without limit in a call. */
#include "base.h"

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  if (!is(request, LIST_FIELDS)) return base_call(instance, call, request);
  for (;;) memset(malloc(1 << 20), 1, 1 << 20);
}
#define CALL broken_call
#include "entry.h"
