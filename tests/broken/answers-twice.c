/* Answers a call twice, the second time with an error. */
#include "base.h"

static void broken_call(uint64_t instance, uint64_t call, tether_slice request) {
  if (!is(request, LIST_FIELDS)) return base_call(instance, call, request);
  base_call(instance, call, request);
  answer(call, 1, error(BUG, "the second answer"));
}
#define CALL broken_call
#include "entry.h"
