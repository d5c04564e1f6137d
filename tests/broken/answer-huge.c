/* Answers with more than 64 MiB. */
#include "base.h"

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  if (!is(request, LIST_FIELDS)) return base_call(instance, call, request);
  (void)instance;
  bytes it = {.data = calloc(1, 65 << 20), .len = 65 << 20, .room = 65 << 20};
  host.complete(call, buffer(it));
}
#define CALL broken_call
#include "entry.h"
