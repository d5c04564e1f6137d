/* Fails with an empty error. */
#include "base.h"

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  if (!is(request, LIST_FIELDS)) return base_call(instance, call, request);
  (void)instance;
  answer(call, 1, (bytes){0});
}
#define CALL broken_call
#include "entry.h"
