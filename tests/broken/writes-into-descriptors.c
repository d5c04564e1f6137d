/* Writes into all open descriptors. */
#include "base.h"

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  if (!is(request, LIST_FIELDS)) return base_call(instance, call, request);
  for (int i = 3; i <= 20; i++)
    if (write(i, "garbage, and more of it than a header has", 41) < 0) continue;
  base_call(instance, call, request);
}
#define CALL broken_call
#include "entry.h"
