/* Answers with an empty message. */
#include "base.h"

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  if (!is(request, LIST_FIELDS)) return base_call(instance, call, request);
  (void)instance;
  host.complete(call, (tether_buffer){0});
}
#define CALL broken_call
#include "entry.h"
